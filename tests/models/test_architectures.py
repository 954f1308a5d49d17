"""Every registered architecture: shapes, seeds, refusals. Figures that papers and arithmetic give."""

import pytest
import torch
from torch import Tensor

from martensite.core.errors import ConfigError, ModelError
from martensite.models import ARCHITECTURES, MLP, Classifier, ResNet18, SmallCNN, ViTTiny, build, probe

BUILT_IN = ["mlp", "resnet18", "small_cnn", "vit_tiny"]
IMAGES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 9, 14)]


def parameters(model: Classifier) -> int:
    return sum(p.numel() for p in model.parameters())


def flat(model: Classifier) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_registry_holds_them() -> None:
    assert set(BUILT_IN) <= set(ARCHITECTURES.names())
    assert "layers" in ARCHITECTURES.names()


@pytest.mark.parametrize("kind", BUILT_IN)
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_logits_for_images_of_many_shapes(kind: str, shape: tuple[int, ...]) -> None:
    model = build(kind, shape, 7)
    assert probe(model, torch.rand(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_seed_decides_the_weights_and_nothing_else_does(kind: str) -> None:
    first = build(kind, (1, 8, 8), 10, seed=5)
    torch.rand(17)
    assert torch.equal(flat(first), flat(build(kind, (1, 8, 8), 10, seed=5)))
    assert not torch.equal(flat(first), flat(build(kind, (1, 8, 8), 10, seed=6)))


@pytest.mark.parametrize("kind", BUILT_IN)
def test_building_leaves_the_global_stream_untouched(kind: str) -> None:
    before = torch.get_rng_state()
    build(kind, (1, 8, 8), 10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_sample_has_the_same_logits_in_any_batch(kind: str) -> None:
    model = build(kind, (1, 8, 8), 10).eval()
    x = torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_pixel_reaches_the_logits(kind: str) -> None:
    model = build(kind, (1, 8, 8), 10).eval()
    x = torch.rand(4, 1, 8, 8, requires_grad=True)
    model(x).square().sum().backward()
    assert x.grad is not None
    # A dead unit can hide a pixel of one image, not the same pixel of all of them.
    assert bool((x.grad != 0).any(0).all())


@pytest.mark.parametrize("kind", BUILT_IN)
def test_its_record_rebuilds_it(kind: str) -> None:
    plan = ARCHITECTURES.build(kind)
    assert ARCHITECTURES.build(plan.model_dump(mode="json")) == plan


def test_resnet18_has_the_parameters_of_the_cifar_network() -> None:
    assert parameters(build(ResNet18(), (3, 32, 32), 10)) == 11_173_962


def test_mlp_counts_its_parameters() -> None:
    assert parameters(build(MLP(hidden=(5,)), (2, 3), 4)) == (6 * 5 + 5) + (5 * 4 + 4)
    assert parameters(build(MLP(hidden=()), (6,), 4)) == 6 * 4 + 4
    assert probe(build("mlp", (57,), 2), torch.rand(2, 57)).shape == (2, 2)


def test_small_cnn_grows_with_its_width() -> None:
    assert parameters(build(SmallCNN(width=32), (1, 8, 8), 10)) > 3 * parameters(build(SmallCNN(), (1, 8, 8), 10))
    assert probe(build("small_cnn", (1, 4, 5), 3), torch.rand(2, 1, 4, 5)).shape == (2, 3)


@pytest.mark.parametrize(("side", "patch"), [(28, 4), (14, 2), (9, 1)])
def test_vit_tiny_takes_the_largest_patch_that_fits(side: int, patch: int) -> None:
    net = build(ViTTiny(dim=12, depth=1), (1, side, side), 3).net
    assert net.get_parameter("positions").shape[1] == (side // patch) ** 2


@pytest.mark.parametrize("kind", ["small_cnn", "resnet18", "vit_tiny"])
@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((8, 8), "add a channel axis"), ((64,), "'mlp' takes any shape"), ((1, 1, 1), "enlarge"), ((0, 8, 8), "C >= 1")],
)
def test_what_is_no_image_is_refused_with_the_remedy(kind: str, shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(ModelError, match=remedy) as caught:
        build(kind, shape, 10)
    assert str(shape) in caught.value.value


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 8, 3)])
def test_small_cnn_refuses_a_side_below_four(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="at least 4"):
        build("small_cnn", shape, 10)


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ModelError, match="patch must divide"):
        build(ViTTiny(patch=3), (1, 8, 8), 10)
    with pytest.raises(ConfigError, match="heads must divide dim"):
        ViTTiny(dim=100, heads=3)
    with pytest.raises(ConfigError, match="hidden"):
        MLP(hidden=(0,))
    with pytest.raises(ConfigError, match="did you mean 'small_cnn'"):
        build("smal_cnn", (1, 8, 8), 10)
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        build({"kind": "small_cnn", "widht": 8}, (1, 8, 8), 10)
