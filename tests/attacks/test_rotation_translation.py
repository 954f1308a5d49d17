"""Rotations and translations: the geometry against independent ones, and the worst of what is allowed."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from martensite.attacks import Oracle, RotationTranslation, attack
from martensite.attacks.losses import margin
from martensite.attacks.rotation_translation import move
from martensite.core.errors import ThreatError
from martensite.core.rng import streams
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

BOX, THREAT = (0.0, 1.0), ThreatModel(eps=0.01)


def turned(x, degrees=0.0, right=0.0, down=0.0, box=BOX):
    return move(x, *(torch.full((len(x),), value) for value in (degrees, right, down)), box)


def images(n=6, shape=(3, 9, 9), dtype=torch.float32):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(243, 16), nn.Tanh(), nn.Linear(16, 4)), 4)


def labels(model, x):
    with torch.no_grad():
        return model(x).argmax(1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (3, 33, 20)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_motion_is_the_identity(shape, dtype):
    x = images(4, shape, dtype)
    assert torch.equal(turned(x), x)


@pytest.mark.parametrize(("degrees", "times"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
@pytest.mark.parametrize("side", [8, 9])
def test_quarter_turns_are_numpy_s(degrees, times, side):
    x = images(2, (1, side, side))
    expected = np.rot90(x.numpy(), times, axes=(2, 3)).copy()  # anticlockwise
    torch.testing.assert_close(turned(x, degrees), torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_whole_pixels_of_shift_are_exact():
    x = images(2, (1, 10, 20))
    moved = turned(x, right=3 / 20, down=-2 / 10)
    torch.testing.assert_close(moved[:, :, :8, 3:], x[:, :, 2:, :17], rtol=0, atol=1e-6)
    assert not moved[:, :, 8:].any()
    assert not moved[..., :3].any()


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 9, 14)], ids=str)
@pytest.mark.parametrize("degrees", [-30.0, 10.0, 75.0])
def test_rotations_are_scipy_s(shape, degrees):
    x = images(1, shape)
    expected = ndimage.rotate(x[0, 0].double().numpy(), degrees, reshape=False, order=1, mode="grid-constant")
    torch.testing.assert_close(turned(x, degrees)[0, 0].double().numpy(), expected, rtol=0, atol=1e-6)


def test_the_box_s_lower_end_comes_into_view():
    x = images(2) * 2 - 1
    moved = turned(x, right=0.5, box=(-1.0, 1.0))
    assert (moved[..., :4] == -1).all()
    assert moved.min() >= -1


def test_the_grid_holds_the_worst_of_its_transformations(model):
    x = images(20)
    y = labels(model, x)
    threat = ThreatModel(eps=0.01, goal="targeted")  # an aim that none reaches, so that no search ends early
    aim = model(x).argmin(1)
    method = RotationTranslation(degrees=20, shift=0.2, angles=3, shifts=3)
    oracle = Oracle(model, until_broken=False)
    found = method.perturb(oracle, x, aim, threat, streams(0, "s", 20))
    cells = itertools.product((-20.0, 0.0, 20.0), (-0.2, 0.0, 0.2), (-0.2, 0.0, 0.2))
    with torch.no_grad():
        best = torch.stack([-margin(model(turned(x, *cell)), aim) for cell in cells]).amax(0)
        torch.testing.assert_close(-margin(model(found), aim), best)
    assert oracle.forwards == 27 * 20
    assert y is not aim


def test_the_grid_finds_no_less_than_random_transformations_on_it(model):
    # Shifts alone, by 0 or +-1/9 of the side: random draws lie between, where a linear model's margin is one of bilinear means.
    torch.manual_seed(0)
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(243, 2)), 2)
    x, y = images(30), torch.zeros(30, dtype=torch.long)
    common = {"degrees": 0.0, "shift": 1 / 9}
    grid, drawn = (
        RotationTranslation(mode=mode, shifts=3, angles=1, samples=50, **common).perturb(
            Oracle(linear, until_broken=False), x, y, THREAT, streams(0, "s", 30)
        )
        for mode in ("grid", "random")
    )
    with torch.no_grad():
        # Interpolation between whole pixels is a convex combination of the grid's images: the maximum is at a corner.
        assert (margin(linear(grid), y) >= margin(linear(drawn), y) - 1e-5).all()
        assert (margin(linear(drawn), y) > margin(linear(x), y)).float().mean() > 0.5


def test_random_draws_stay_within_limits_and_differ():
    x = torch.zeros(200, 1, 21, 21)
    x[:, :, 10, 10] = 1.0  # a dot in the middle shows the shift
    seen = []
    model = BlackBox(lambda z: (seen.append(z), np.zeros(len(z), dtype=int))[1], 2, access=Access.DECISIONS)
    method = RotationTranslation(mode="random", samples=3, shift=0.2)
    method.perturb(Oracle(model), x, torch.zeros(200, dtype=torch.long), THREAT, streams(0, "s", 200))
    dots = torch.from_numpy(np.concatenate(seen))[:, 0]
    mass = dots.sum((1, 2))
    torch.testing.assert_close(mass, torch.ones(600), rtol=0, atol=0.35)  # a rotated bilinear kernel
    place = (dots.sum(1) * (torch.arange(21) - 10)).sum(1) / mass / 21
    assert place.abs().max() <= 0.21
    assert place.min() < -0.18
    assert place.max() > 0.18
    assert abs(float(place.mean())) < 0.02


def test_success_is_outside_any_ball_and_judged_afresh(model):
    x = images(40)
    y = labels(model, x)
    result = attack(RotationTranslation(), model, x, y, THREAT)
    assert result.success.any()
    assert not result.error.any()
    assert torch.equal(labels(model, result.adversarial) != y, result.success)
    assert result.distance[result.success].min() > THREAT.eps
    torch.testing.assert_close(result.distance, (result.adversarial - x).abs().amax((1, 2, 3)))


def test_a_larger_grid_breaks_no_less(model):
    x = images(40)
    y = labels(model, x)
    small, large = (attack(RotationTranslation(degrees=12, angles=a, shifts=1), model, x, y, THREAT).success for a in (3, 33))
    assert (large | ~small).all()
    assert large.sum() > small.sum()


def test_labels_alone_suffice(model):
    x = images(40)
    y = labels(model, x)
    blind = BlackBox(lambda z: labels(model, torch.from_numpy(z)).numpy(), 4, access=Access.DECISIONS)
    seen, unseen = (attack(RotationTranslation(angles=5), one, x, y, THREAT) for one in (model, blind))
    assert torch.equal(seen.success, unseen.success)
    assert seen.backwards == 0


def test_only_images_are_rotated():
    model = Classifier(nn.Linear(4, 2), 2)
    with pytest.raises(ThreatError, match=r"shape \(4,\)"):
        attack(RotationTranslation(), model, torch.full((3, 4), 0.5), labels(model, torch.full((3, 4), 0.5)), THREAT)
