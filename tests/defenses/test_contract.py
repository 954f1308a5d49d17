"""What every transform and every detector owes: a member of a registry is tested by being there."""

import json

import pytest
import torch

from martensite.artifacts import load_bundle, save_bundle
from martensite.core.rng import streams
from martensite.defenses import DETECTORS, TRANSFORMS, Defence, Defended, defend
from martensite.defenses.conformal import p_values, threshold
from martensite.defenses.look import Look
from martensite.models import build
from martensite.models.digest import model_digest

# Settings that keep things short, or that have no default.
CHEAP = {"learned": {"eps": 0.1, "epochs": 2, "attack": {"kind": "fgsm"}}, "intrinsic_dimension": {"k": 8}}
BOXES = ((0.0, 1.0), (-1.0, 2.0))
SHAPES = ((1, 8, 8), (3, 9, 11), (2, 7, 5))
ALARMS = 0.1


def made(registry, name):
    return registry.build({"kind": name, **CHEAP.get(name, {})})


every_transform = pytest.mark.parametrize("name", TRANSFORMS.names())
every_detector = pytest.mark.parametrize("name", DETECTORS.names())
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_box = pytest.mark.parametrize("box", BOXES, ids=str)


def images(shape, box, n=6, dtype=torch.float32):
    """Some with features on the box's faces."""
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:2] = x[:2].round()
    return (x * (box[1] - box[0]) + box[0]).to(dtype)


# transforms


@every_transform
@every_shape
@every_box
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_what_comes_out_lies_in_the_box(name, shape, box, dtype):
    transform, x = made(TRANSFORMS, name), images(shape, box, dtype=dtype)
    given = x.clone()
    y = transform.apply(x, box, streams(0, "contract", len(x)))
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert y.isfinite().all()
    assert y.min() >= box[0]
    assert y.max() <= box[1]
    assert torch.equal(x, given)


@every_transform
@every_shape
def test_only_a_transform_that_says_so_is_random(name, shape):
    transform, x = made(TRANSFORMS, name), images(shape, (0.0, 1.0))
    first, again, other = (transform.apply(x, (0.0, 1.0), streams(seed, "contract", len(x))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != transform.random


@every_transform
@every_shape
def test_a_sample_is_transformed_the_same_way_in_any_company(name, shape):
    transform, x = made(TRANSFORMS, name), images(shape, (0.0, 1.0))
    rng = streams(0, "contract", len(x))
    whole = transform.apply(x, (0.0, 1.0), rng[:])
    alone = torch.cat([transform.apply(x[i : i + 1], (0.0, 1.0), rng[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-6)


@every_transform
@every_shape
@every_box
def test_the_gradient_through_it_is_finite_and_the_value_is_its_own(name, shape, box):
    transform, x = made(TRANSFORMS, name), images(shape, box).requires_grad_(True)
    rng = streams(0, "contract", len(x))
    y = transform.through(x, box, rng[:])
    assert torch.equal(y.detach(), transform.apply(x.detach(), box, rng[:]))
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient[2:] != 0).flatten(1).any(1).all()


@every_transform
def test_a_transform_is_its_record(name):
    transform = made(TRANSFORMS, name)
    record = json.loads(json.dumps(transform.model_dump(mode="json")))
    assert TRANSFORMS.build(record) == transform
    assert name in str(transform)


@every_transform
def test_a_transform_comes_back_from_a_bundle(name, tmp_path):
    model = Defended(build("small_cnn", shape=(1, 8, 8), classes=3), Defence(transforms=(made(TRANSFORMS, name),)))
    save_bundle(model, tmp_path / "one")
    back = load_bundle(tmp_path / "one")
    assert back.defence == model.defence
    assert model_digest(back) == model_digest(model)
    x = images((1, 8, 8), (0.0, 1.0))
    for one in (model, back):
        one.reseed(3)
    with torch.no_grad():
        assert torch.equal(back(x), model.eval()(x))


# detectors


@pytest.fixture(scope="module")
def fitted(model, digits):
    """Every detector, fitted on one half of the held-out digits; the other half is for calibration."""
    half = len(digits.held) // 2
    teach, calibrate = digits.held.subset(slice(0, half)), digits.held.subset(slice(half, None))
    return {name: made(DETECTORS, name).fit(model, teach.x, teach.y).calibrate(calibrate.x, ALARMS) for name in DETECTORS.names()}


@every_detector
def test_scores_are_finite_and_the_same_in_any_company(name, fitted, digits):
    x = digits.test.x[:20]
    score = fitted[name].score(x)
    assert score.shape == (20,)
    assert score.isfinite().all()
    assert torch.equal(score, fitted[name].score(x))
    alone = torch.cat([fitted[name].score(x[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(alone, score, rtol=1e-4, atol=1e-4)


@every_detector
def test_the_score_has_a_gradient_that_an_attack_can_follow(name, fitted, digits):
    x = digits.test.x[:8].clone().requires_grad_(True)

    (gradient,) = torch.autograd.grad(fitted[name].look(Look(fitted[name].model, x)).sum(), x)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@every_detector
def test_a_detector_rings_on_no_more_clean_inputs_than_it_was_allowed(name, fitted):
    """Exact: of n + 1 exchangeable samples each is as likely the new one, so try each of them as the new one."""

    scores = fitted[name].calibrated
    n = len(scores)
    for alpha in (0.01, 0.05, 0.1, 0.37):
        rings = torch.tensor([float(p_values(torch.cat([scores[:i], scores[i + 1 :]]), scores[i : i + 1])) for i in range(n)])
        assert int((rings <= alpha + 1e-12).sum()) <= int(alpha * n + 1e-9)
        above = [bool(scores[i] > threshold(torch.cat([scores[:i], scores[i + 1 :]]), alpha)) for i in range(n)]
        assert above == (rings <= alpha + 1e-12).tolist()


@every_detector
def test_what_a_detector_learns_is_tensors(name, fitted):
    assert all(isinstance(tensor, torch.Tensor) and not tensor.requires_grad for tensor in fitted[name].state.values())
    assert bool(fitted[name].state) == fitted[name].detector.learns
    record = json.loads(json.dumps(fitted[name].record()))
    assert DETECTORS.build(record) == fitted[name].detector


@every_detector
def test_fitting_again_gives_the_same_bits(name, fitted, model, digits):
    half = len(digits.held) // 2
    again = made(DETECTORS, name).fit(model, digits.held.x[:half], digits.held.y[:half])
    assert all(torch.equal(tensor, fitted[name].state[key]) for key, tensor in again.state.items())


@every_detector
def test_a_detector_comes_back_from_a_bundle(name, model, digits, tmp_path):
    defended = defend(model, Defence(detectors=(made(DETECTORS, name),), false_alarms=ALARMS), digits.held)
    save_bundle(defended, tmp_path / "one")
    back = load_bundle(tmp_path / "one")
    assert {path.suffix for path in (tmp_path / "one").iterdir()} == {".safetensors", ".json", ".md"}
    mine, theirs = (one.respond(digits.test.x) for one in (defended, back))
    assert torch.equal(mine.p_value, theirs.p_value)
    assert torch.equal(mine.flagged, theirs.flagged)
    assert model_digest(back) == model_digest(defended)


@every_detector
def test_a_detector_leaves_the_model_as_it_was(name, model, digits):
    before = model_digest(model), [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    detector = made(DETECTORS, name).fit(model, digits.held.x[:150], digits.held.y[:150])
    detector.score(digits.test.x[:5])
    after = model_digest(model), [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    assert after == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every_detector
def test_a_detector_works_on_rows_of_a_table(name, digits):
    if name == "squeezing":
        pytest.skip("its default squeezers are for images")
    table = build("mlp", shape=(64,), classes=10)
    detector = made(DETECTORS, name).fit(table, digits.held.x[:150].flatten(1), digits.held.y[:150])
    assert detector.score(digits.test.x[:5].flatten(1)).isfinite().all()
