"""Every registered architecture: shapes, seeds, refusals. Figures that papers and arithmetic give."""

import pytest
import torch
from torch import Tensor

from martensite.core.errors import ConfigError, ModelError
from martensite.models import (
    ARCHITECTURES,
    MLP,
    Classifier,
    MadryCNN,
    PreActResNet18,
    ResNet18,
    SmallCNN,
    TextTransformer,
    TradesCNN,
    ViTTiny,
    WideResNet,
    build,
    probe,
)

# The smallest input that each is tried on.
SMALL = {
    "madry_cnn": (1, 8, 8),
    "mlp": (1, 8, 8),
    "preact_resnet18": (1, 8, 8),
    "resnet18": (1, 8, 8),
    "small_cnn": (1, 8, 8),
    "text_transformer": (6, 8),
    "trades_cnn": (1, 16, 16),
    "vit_tiny": (1, 8, 8),
    "wide_resnet": (1, 8, 8),
}
BUILT_IN = sorted(SMALL)
IMAGES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 9, 14)]
FIT = [(kind, shape) for kind in BUILT_IN if kind != "text_transformer" for shape in IMAGES]
FIT = [(kind, shape) for kind, shape in FIT if kind != "trades_cnn" or min(shape[1:]) >= 16]


def parameters(model: Classifier) -> int:
    return sum(p.numel() for p in model.parameters())


def flat(model: Classifier) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_registry_holds_them() -> None:
    assert set(BUILT_IN) <= set(ARCHITECTURES.names())
    assert "layers" in ARCHITECTURES.names()


@pytest.mark.parametrize(("kind", "shape"), FIT, ids=str)
def test_logits_for_images_of_many_shapes(kind: str, shape: tuple[int, ...]) -> None:
    model = build(kind, shape, 7)
    assert probe(model, torch.rand(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_seed_decides_the_weights_and_nothing_else_does(kind: str) -> None:
    first = build(kind, SMALL[kind], 10, seed=5)
    torch.rand(17)
    assert torch.equal(flat(first), flat(build(kind, SMALL[kind], 10, seed=5)))
    assert not torch.equal(flat(first), flat(build(kind, SMALL[kind], 10, seed=6)))


@pytest.mark.parametrize("kind", BUILT_IN)
def test_building_leaves_the_global_stream_untouched(kind: str) -> None:
    before = torch.get_rng_state()
    build(kind, SMALL[kind], 10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_sample_has_the_same_logits_in_any_batch(kind: str) -> None:
    model = build(kind, SMALL[kind], 10).eval()
    x = torch.rand(6, *SMALL[kind])
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_pixel_reaches_the_logits(kind: str) -> None:
    model = build(kind, SMALL[kind], 10).eval()
    x = torch.rand(4, *SMALL[kind], requires_grad=True)
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


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 1, 0.6), (16, 4, 2.7), (40, 4, 8.9), (16, 8, 11.0), (28, 10, 36.5)],  # Zagoruyko and Komodakis, tables 4 and 5
)
def test_wide_resnet_has_the_parameters_of_its_paper(depth: int, width: int, millions: float) -> None:
    with torch.device("meta"):
        net = WideResNet(depth=depth, width=width).module((3, 32, 32), 10)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_wide_resnet_counts_layers_as_its_name_does() -> None:
    net = WideResNet(depth=28, width=1).module((3, 32, 32), 10)
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(layers) == 26  # 28 with the two 1 x 1 shortcuts of the groups that halve the image
    shortcuts = [m for m in net.modules() if getattr(m, "kernel_size", 0) == (1, 1)]
    assert len(shortcuts) == 2


def test_wide_resnet_28_10_exactly() -> None:
    with torch.device("meta"):
        net = WideResNet(depth=28, width=10).module((3, 32, 32), 10)
    assert sum(p.numel() for p in net.parameters()) == 36_479_194


def test_preact_resnet18_moves_the_normalisations_of_resnet18() -> None:
    # Gone: the stem's (2 x 64) and the shortcuts' (2 x (128 + 256 + 512)). New: the last one (2 x 512). A block that widens
    # normalises its input instead of its first output: 2 x (64 + 128 + 256) fewer.
    moved = -2 * 64 - 2 * (128 + 256 + 512) + 2 * 512 - 2 * (64 + 128 + 256)
    assert parameters(build(PreActResNet18(), (3, 32, 32), 10)) == 11_173_962 + moved


def test_a_preactivation_block_is_the_identity_where_its_convolutions_are_zero() -> None:
    from martensite.models.preactivation import PreActivationBlock

    block = PreActivationBlock(4, 4, 1)
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)  # negative values, too: nothing rectifies the sum
    assert torch.equal(block(x), x)


def test_the_mnist_networks_of_the_literature() -> None:
    # conv 5 x 5 (1, 32), (32, 64), then 7 * 7 * 64 -> 1024 -> 10
    madry = (25 + 1) * 32 + (25 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 1024 + 1025 * 10
    assert parameters(build(MadryCNN(), (1, 28, 28), 10)) == madry == 3_274_634
    # conv 3 x 3 (1, 32), (32, 32), (32, 64), (64, 64), then 4 * 4 * 64 -> 200 -> 200 -> 10
    trades = 10 * 32 + (9 * 32 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64 + (1024 + 1) * 200 + 201 * 200 + 201 * 10
    assert parameters(build(TradesCNN(), (1, 28, 28), 10)) == trades == 312_202


def test_trades_cnn_refuses_what_leaves_nothing_to_pool() -> None:
    assert probe(build("trades_cnn", (1, 16, 17), 3), torch.rand(2, 1, 16, 17)).shape == (2, 3)
    with pytest.raises(ModelError, match="at least 16"):
        build("trades_cnn", (1, 15, 28), 3)


def test_text_transformer_takes_sequences_and_knows_their_order() -> None:
    model = build(TextTransformer(dim=16, depth=1, heads=2), (5, 8), 2, box=(-1.0, 1.0)).eval()
    x = torch.rand(3, 5, 8)
    assert not torch.allclose(model(x), model(x.flip(1)))
    with pytest.raises(ModelError, match="text:FILE"):
        build("text_transformer", (1, 8, 8), 2)


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


@pytest.mark.parametrize("kind", sorted({*BUILT_IN} - {"mlp", "text_transformer"}))
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
    with pytest.raises(ConfigError, match="heads must divide dim"):
        TextTransformer(dim=30)
    with pytest.raises(ConfigError, match=r"6N \+ 4"):
        WideResNet(depth=30)
    with pytest.raises(ConfigError, match=r"6N \+ 4"):
        WideResNet(depth=4)
    with pytest.raises(ConfigError, match="hidden"):
        MLP(hidden=(0,))
    with pytest.raises(ConfigError, match="did you mean 'small_cnn'"):
        build("smal_cnn", (1, 8, 8), 10)
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        build({"kind": "small_cnn", "widht": 8}, (1, 8, 8), 10)
