"""Square where the model is asked about squares alone: the same search as with whole passes, to the last query."""

import pytest
import torch
from torch import nn

from martensite.attacks import EOT, Budget, Square, attack
from martensite.attacks.oracle import Oracle
from martensite.attacks.square_lp import _bumps
from martensite.models import Classifier
from martensite.threat import ThreatModel


@pytest.fixture
def scene():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 4, stride=2, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 4),
    )  # fmt: skip
    x = torch.rand(60, 2, 16, 16, dtype=torch.float64)
    net.double()(x)  # statistics for the normalisation
    model = Classifier(net, 4, mean=[0.4, 0.5], std=[0.3, 0.2]).double().eval()
    return model, x, model(x).argmax(1)


@pytest.fixture
def asked(monkeypatch):
    """How many points each question about windows was about."""
    monkeypatch.setattr("martensite.models.windows.OVERHEAD", 0)  # networks here are small
    found, near = [], Oracle.near

    def counting(self, about, rows, *more):
        found.append(len(rows))
        return near(self, about, rows, *more)

    monkeypatch.setattr(Oracle, "near", counting)
    return found


@pytest.mark.parametrize(
    "threat",
    [ThreatModel(eps=0.03), ThreatModel(eps=0.06), ThreatModel(norm="l2", eps=0.6), ThreatModel(norm="l1", eps=6.0)],
    ids=["linf", "linf, larger", "l2", "l1"],
)
@pytest.mark.parametrize("method", [Square(queries=400), Square(queries=400, hopeless=0.04)], ids=["paper", "gives up"])
def test_in_double_precision_it_is_the_same_search(monkeypatch, asked, scene, method, threat):
    model, x, y = scene
    ours = attack(method, model, x, y, threat, seed=1)
    monkeypatch.setattr("martensite.attacks.oracle.known", lambda *given: None)
    whole = attack(method, model, x, y, threat, seed=1)
    assert sum(asked) > 50
    # In L1 a move may lead back to where it began, but for rounding, which windows don't take for a gain.
    torch.testing.assert_close(ours.adversarial, whole.adversarial, rtol=0.0, atol=1e-4 if threat.norm == "l1" else 0.0)
    assert torch.equal(ours.success, whole.success)
    assert 0 < int(ours.success.sum()) < len(x)
    assert torch.equal(ours.cost, whole.cost)
    assert (ours.forwards, ours.backwards) == (whole.forwards, whole.backwards)
    assert ours.discarded > whole.discarded  # the passes for activations are said


@pytest.mark.parametrize(
    ("method", "given"),
    [
        (EOT(attack=Square(queries=60), samples=2), {}),  # asks several times and answers with the mean
        (Square(queries=200), {"budget": Budget(sample_seconds=60.0)}),  # leaves out who is late
    ],
    ids=["expectation", "time a sample"],
)
def test_where_an_answer_is_more_than_the_models_whole_passes_are_made(asked, scene, method, given):
    model, x, y = scene
    attack(method, model, x, y, ThreatModel(eps=0.03), seed=1, **given)
    assert not asked


def test_under_constraints_whole_passes_are_made(asked, scene):
    model, x, _ = scene
    levels = torch.round(x * 255) / 255
    threat = ThreatModel(eps=8 / 255, constraints={"levels": 256})
    result = attack(Square(queries=200), model, levels, model(levels).argmax(1), threat, seed=1)
    assert not asked
    assert result.rejected == 0


def test_the_callers_autocast_does_not_reach_the_model(asked, scene):
    model, x, y = scene
    model, x, method = model.float(), x.float(), Square(queries=300)
    plain = attack(method, model, x, y, ThreatModel(eps=0.03), seed=1)
    assert sum(asked) > 50
    with torch.autocast("cpu", torch.bfloat16):
        inside = attack(method, model, x, y, ThreatModel(eps=0.03), seed=1)
    assert torch.equal(plain.adversarial, inside.adversarial)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_losses_that_hardly_change_where_the_model_is_sure_are_climbed_all_the_same(monkeypatch, asked, scene, norm):
    model, x, y = scene
    sure = Classifier(nn.Sequential(*model.net[:-1], Scaled(model.net[-1])), 4, mean=[0.4, 0.5], std=[0.3, 0.2]).eval()
    threat, method = ThreatModel(norm=norm, eps={"linf": 0.06, "l2": 1.0}[norm]), Square(queries=300, loss="ce")
    ours = attack(method, sure, x, y, threat, seed=1)
    monkeypatch.setattr("martensite.attacks.oracle.known", lambda *given: None)
    whole = attack(method, sure, x, y, threat, seed=1)
    assert sum(asked) > 50
    assert torch.equal(ours.adversarial, whole.adversarial)
    assert int(ours.success.sum()) > 0


class Scaled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 100.0 * self.inner(x)


def test_an_oracle_whose_answers_are_its_own_knows_no_points(asked, scene):
    class Other(Oracle):
        pass

    model, x, _ = scene
    assert Oracle(model).known(x, (1, 1)) is not None
    assert Other(model).known(x, (1, 1)) is None


def test_bumps_do_not_depend_on_the_default_precision():
    torch.set_default_dtype(torch.float64)
    try:
        inside = _bumps(11, 11, 2.0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert inside.dtype == torch.float32
