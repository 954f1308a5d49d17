"""Patch: what it covers, where it lies, and that it learns what the model looks for."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import Oracle, Patch, attack
from martensite.attacks.patch import Placement, lay
from martensite.core.errors import ThreatError
from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.threat import ThreatModel


class Brightest(nn.Module):
    """Class 1 where any 3 x 3 window is brighter than a threshold: what a patch can fake anywhere."""

    def forward(self, x):
        window = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 3, stride=1)
        peak = 20 * (window.flatten(1) * 20).softmax(1).mul(window.flatten(1)).sum(1)
        return torch.stack([torch.full_like(peak, 12.0), peak], 1)


def images(n=40, shape=(1, 16, 16)):
    return 0.2 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def at(turn, side, column, row, n=1):
    return Placement(*(torch.full((n,), float(value), dtype=torch.float64) for value in (turn, side, column, row)))


def test_a_straight_patch_covers_its_square_and_shows_its_pixels():
    x, patch = images(2), torch.rand(2, 1, 4, 4)
    laid = lay(patch, x, at(0, 4, 7, 5, n=2))  # columns 5..8, rows 3..6
    torch.testing.assert_close(laid[:, :, 3:7, 5:9], patch, rtol=0, atol=1e-6)
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[3:7, 5:9] = False
    assert torch.equal(laid[..., outside], x[..., outside])


def test_a_quarter_turn_turns_the_pixels():
    x, patch = images(1), torch.rand(1, 1, 4, 4)
    laid = lay(patch, x, at(math.pi / 2, 4, 7, 5))
    torch.testing.assert_close(laid[:, :, 3:7, 5:9], patch.rot90(1, (2, 3)), rtol=0, atol=1e-6)


def test_the_area_of_a_turned_patch_is_its_own():
    x = torch.zeros(300, 1, 40, 40)
    turn = torch.linspace(0, math.pi / 2, 300, dtype=torch.float64)
    placement = at(0, 10, 20.3, 19.6, n=300)._replace(turn=turn)
    covered = lay(torch.ones(300, 1, 10, 10), x, placement).sum((1, 2, 3))
    assert covered.mean() == pytest.approx(100, abs=1)
    assert (covered - 100).abs().max() <= 15


def test_the_gradient_reaches_every_pixel_of_the_patch():
    patch = torch.rand(1, 2, 4, 4, requires_grad=True)
    lay(patch, images(1, (2, 16, 16)), at(0.3, 4, 8, 8)).sum().backward()
    assert (patch.grad > 0).all()


@pytest.mark.parametrize(("eps", "channels"), [(9, 1), (27, 3), (50, 1), (3, 2)])
@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_no_more_than_eps_features_change_and_the_patch_stays_whole(eps, channels, degrees):
    x = images(60, (channels, 16, 16))
    model = Classifier(Brightest(), 2)
    threat = ThreatModel(norm="l0", eps=eps)
    method = Patch(steps=5, degrees=degrees, scale=1.0)
    found = method.perturb(Oracle(model), x, torch.zeros(60).long(), threat, streams(0, "s", 60))
    changed = (found != x).flatten(1).sum(1)
    assert changed.max() <= eps
    assert changed.double().mean() > 0.7 * eps
    pixels = (found != x).any(1)
    places = torch.nonzero(pixels)
    for sample in range(60):  # one square, not scattered pixels
        own = places[places[:, 0] == sample, 1:]
        reach = math.ceil(math.sqrt(2 * eps / channels)) + 1
        assert (own.amax(0) - own.amin(0)).max() < reach


def test_places_are_all_over_the_image():
    x = images(400)
    found = Patch(steps=1).perturb(
        Oracle(Classifier(Brightest(), 2)), x, torch.zeros(400).long(), ThreatModel(norm="l0", eps=16), streams(0, "s", 400)
    )
    share = (found != x).double().mean((0, 1))
    assert share[4:12, 4:12].min() > 0.02
    assert share[:, :4].sum() > 0  # up to the edges
    assert share[15].sum() > 0


def test_a_blind_patch_breaks_a_model_that_looks_for_bright_windows():
    x, model = images(100), Classifier(Brightest(), 2)
    y = torch.zeros(100).long()
    result = attack(Patch(steps=60), model, x, y, ThreatModel(norm="l0", eps=25), batch_size=100)
    assert result.correct.all()
    assert not result.error.any()
    assert result.success.float().mean() > 0.95
    grey = attack(Patch(steps=1, step_size=1e-6), model, x, y, ThreatModel(norm="l0", eps=25), batch_size=100)
    assert not grey.success.any()  # it is not the covering that does it
    small = attack(Patch(steps=60), model, x, y, ThreatModel(norm="l0", eps=2), batch_size=100)
    assert not small.success.any()


def test_a_target_is_reached_by_one_patch():
    x, model = images(100), Classifier(Brightest(), 2)
    threat = ThreatModel(norm="l0", eps=25, goal="targeted")
    result = attack(Patch(steps=60), model, x, torch.zeros(100).long(), threat, target=torch.ones(100).long())
    assert result.success.float().mean() > 0.95


@pytest.mark.parametrize(("shape", "eps"), [((3, 16, 16), 2), ((20,), 5)], ids=["less than a pixel", "no image"])
def test_what_no_patch_fits_is_refused(shape, eps):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2)), 2)
    x = images(4, shape)
    with torch.no_grad():
        y = model(x).argmax(1)
    with pytest.raises(ThreatError, match="eps of at least C"):
        attack(Patch(), model, x, y, ThreatModel(norm="l0", eps=eps))


def test_the_model_is_asked_once_a_step():
    x, oracle = images(10), Oracle(Classifier(Brightest(), 2))
    oracle.begin(x)
    Patch(steps=7).perturb(oracle, x, torch.zeros(10).long(), ThreatModel(norm="l0", eps=9), streams(0, "s", 10))
    assert (oracle.account.spent == 7).all()
    assert (oracle.forwards, oracle.backwards) == (70, 70)
