"""PGD: its steps, its starts, its restarts, its cost, and the optimum of a linear model."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import FGSM, PGD, Oracle, attack
from martensite.core.errors import ConfigError
from martensite.core.rng import streams
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel
from martensite.threat.linf import Linf


def linear(weight, bias=0.0):
    """Two classes; the margin of class 1 over class 0 is weight . x + bias."""
    layer = nn.Linear(len(weight), 2)
    half = torch.as_tensor(weight, dtype=torch.float32) / 2
    layer.weight.data, layer.bias.data = torch.stack([-half, half]), torch.tensor([-bias / 2, bias / 2])
    return Classifier(layer, 2)


def curved():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)), 3)


def run(method, model, x, y, threat, until_broken=False, rng=None):
    oracle = Oracle(model, until_broken)
    with undisturbed(model):
        return method.perturb(oracle, x, y, threat, rng or streams(0, "s", len(x))), oracle


class Rigid(nn.Module):
    """Always class 0, with a gradient."""

    def forward(self, x):
        return torch.stack([x.flatten(1).sum(1) + 100, x.flatten(1).sum(1)], 1)


# the iteration


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_iteration_as_written(norm):
    model, x, y = curved(), torch.rand(10, 8, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 3
    eps, step = 0.2, 0.07
    z, _ = run(PGD(steps=5, step_size=step, random_start=False), model, x, y, ThreatModel(norm=norm, eps=eps))
    point = x.clone()
    for _ in range(5):
        leaf = point.clone().requires_grad_()
        nn.functional.cross_entropy(model(leaf), y, reduction="sum").backward()
        if norm == "linf":
            point = point + step * leaf.grad.sign()
            point = torch.minimum(torch.maximum(point, x - eps), x + eps).clamp(0, 1)
        else:
            delta = point + step * leaf.grad / leaf.grad.norm(dim=1, keepdim=True) - x
            point = (x + delta * (eps / delta.norm(dim=1, keepdim=True)).clamp(max=1)).clamp(0, 1)
    torch.testing.assert_close(z, point, rtol=0, atol=1e-5)


def test_one_step_of_eps_from_the_input_is_fgsm():
    model, x, y = curved(), torch.rand(10, 8), torch.arange(10) % 3
    threat = ThreatModel(eps=0.1)
    ours, _ = run(PGD(steps=1, step_size=0.1, random_start=False), model, x, y, threat)
    assert torch.equal(ours, run(FGSM(), model, x, y, threat)[0])


def test_the_default_steps_cross_the_ball(monkeypatch):
    monkeypatch.setattr(Linf, "random_start", lambda self, x, eps, box, rng: x - eps)  # on the far side
    for steps in (1, 4, 40):
        z, _ = run(PGD(steps=steps), linear([1.0]), torch.tensor([[0.5]]), torch.tensor([0]), ThreatModel(eps=0.1))
        assert z.item() == pytest.approx(0.6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("loss", ["ce", "margin", "logit"])
@pytest.mark.parametrize("shape", [(40,), (2, 4, 5)], ids=str)
def test_more_steps_come_closer_to_the_linear_optimum(norm, loss, shape):
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(40, generator=generator)
    model = Classifier(nn.Sequential(nn.Flatten(), linear(w).net), 2)
    x = 0.4 + 0.2 * torch.rand(20, *shape, generator=generator)
    eps = {"linf": 0.1, "l2": 0.2, "l1": 3.0}[norm]
    if norm == "l1":  # room is 0.4 to 0.6 a feature, so about six features are filled
        room = torch.where(w > 0, 1 - x.flatten(1), x.flatten(1))
        order = w.abs().argsort(descending=True)
        ranked = room[:, order]
        spent = torch.minimum(ranked, (eps - ranked.cumsum(1) + ranked).clamp_min(0))
        best = (spent * w.abs()[order]).sum(1)
    else:
        best = torch.full((20,), eps * float(w.abs().sum() if norm == "linf" else w.norm()))
    shares = []
    for steps, step in ((10, 0.1), (300, 0.02)):
        z, _ = run(
            PGD(steps=steps, step_size=step * eps, loss=loss), model, x, torch.zeros(20).long(), ThreatModel(norm=norm, eps=eps)
        )
        shares.append((((z - x).flatten(1) @ w) / best).min())
    assert shares[0] <= shares[1] + 1e-5
    assert 0.99 <= shares[1] <= 1 + 1e-4


def test_l1_does_not_stall_at_the_faces_of_the_box():
    # Many features, some of them with hardly any room: steps on one feature at a time used to end at a seventh of this.
    generator = torch.Generator().manual_seed(0)
    w, x, eps = torch.randn(784, generator=generator), torch.rand(20, 784, generator=generator), 10.0
    z, _ = run(PGD(), linear(w), x, torch.zeros(20).long(), ThreatModel(norm="l1", eps=eps))
    room = torch.where(w > 0, 1 - x, x)[:, w.abs().argsort(descending=True)]
    spent = torch.minimum(room, (eps - room.cumsum(1) + room).clamp_min(0))
    best = (spent * w.abs().sort(descending=True).values).sum(1)
    assert (((z - x) @ w) / best).min() > 0.98


def test_targets_are_approached():
    model, x = curved(), torch.rand(30, 8, generator=torch.Generator().manual_seed(1))
    target = torch.arange(30) % 3
    z, _ = run(PGD(), model, x, target, ThreatModel(eps=0.3, goal="targeted"))
    with torch.no_grad():
        gain = (model(z).log_softmax(1) - model(x).log_softmax(1)).gather(1, target[:, None])
    assert (gain > 0).all()


# starts


def test_starts_are_random_or_the_input():
    x, y = torch.rand(5, 6), torch.zeros(5).long()
    flat = linear([0.0] * 6, bias=-1.0)  # no gradient: the search stays where it starts
    threat = ThreatModel(eps=0.1)
    at_input, _ = run(PGD(random_start=False), flat, x, y, threat)
    assert torch.equal(at_input, x)
    at_random, _ = run(PGD(), flat, x, y, threat)
    torch.testing.assert_close(at_random, threat.random_start(x, streams(0, "s", 5)))
    assert not torch.equal(at_random, x)


def test_every_restart_starts_elsewhere():
    flat, x, y, threat = linear([0.0] * 6, bias=-1.0), torch.rand(5, 6), torch.zeros(5).long(), ThreatModel(eps=0.1)
    last = [run(PGD(steps=1, restarts=restarts), flat, x, y, threat)[0] for restarts in (1, 2, 3)]
    rng = streams(0, "s", 5)
    for z in last:
        torch.testing.assert_close(z, threat.random_start(x, rng))


# cost, counted by hand


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (7, 1), (3, 4)])
def test_the_cost_of_what_withstands(steps, restarts):
    n, x, y = 11, torch.rand(11, 2, 3), torch.zeros(11).long()
    result = attack(PGD(steps=steps, restarts=restarts), Classifier(Rigid(), 2), x, y, ThreatModel(eps=0.1), batch_size=4)
    # clean + (steps a restart) + a look at the end of each restart, the last one's being the engine's own
    assert result.forwards == n + n * steps * restarts + n * restarts
    assert result.backwards == n * steps * restarts
    assert result.robust.all()


def test_the_broken_leave_at_once():
    # Margins of 0.05, 0.15, ... against steps of 0.1 along the only feature: sample i falls in step i + 1 and leaves at the pass
    # that shows it, which is the next step's.
    margins = torch.tensor([0.05, 0.15, 0.25, 0.35])
    model, x = linear([1.0], bias=-0.5), 0.5 - margins[:, None]
    result = attack(PGD(steps=5, step_size=0.1, random_start=False), model, x, torch.zeros(4).long(), ThreatModel(eps=0.5))
    assert result.success.all()
    assert result.forwards == 4 + (2 + 3 + 4 + 5) + 4
    assert result.backwards == 2 + 3 + 4 + 5
    torch.testing.assert_close(result.distance, torch.tensor([0.1, 0.2, 0.3, 0.4]))


def test_what_falls_at_the_last_step_costs_no_restart(monkeypatch):
    # Two steps of 0.1 break a margin of 0.15: the look after the first restart sees it.
    monkeypatch.setattr(Linf, "random_start", lambda self, x, eps, box, rng: x)
    model, x, y = linear([1.0], bias=-0.5), torch.full((3, 1), 0.35), torch.zeros(3).long()
    result = attack(PGD(steps=2, step_size=0.1, restarts=50), model, x, y, ThreatModel(eps=0.2))
    assert result.success.all()
    assert (result.forwards, result.backwards) == (3 + 3 * 2 + 3 + 3, 3 * 2)


class NoEmptyBatch(nn.Module):
    """Like many a model: reshape(n, -1) fails on no samples."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.view(len(x), -1))


def test_a_batch_that_is_all_broken_is_not_asked_again():
    model = Classifier(NoEmptyBatch(linear([1.0] * 4, bias=-2.0).net), 2)
    x = torch.full((5, 1, 2, 2), 0.49)
    result = attack(PGD(steps=10, restarts=3), model, x, torch.zeros(5).long(), ThreatModel(eps=0.3))
    assert not result.error.any(), result.messages
    assert result.success.all()


def test_restarts_from_the_input_would_repeat_the_search():
    x, y = torch.rand(3, 4), torch.zeros(3).long()
    once, many = (
        attack(PGD(steps=2, restarts=restarts, random_start=False), Classifier(Rigid(), 2), x, y, ThreatModel(eps=0.1))
        for restarts in (1, 5)
    )
    assert (many.forwards, many.backwards) == (once.forwards, once.backwards)


def test_restarts_never_lose_a_success():
    model, x = curved(), torch.rand(200, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x).argmax(1)
    one, five = (attack(PGD(steps=1, restarts=r), model, x, y, ThreatModel(eps=0.12)) for r in (1, 5))
    assert (one.success <= five.success).all()
    assert one.success.sum() < five.success.sum() < 200


# settings


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 1.5}, {"restarts": 0}, {"step_size": 0}, {"step_size": math.inf}])
def test_settings_out_of_range(bad):
    with pytest.raises(ConfigError, match=f"PGD.{next(iter(bad))}"):
        PGD(**bad)


def test_step_size_as_written():
    assert PGD(step_size="2/255").step_size == 2 / 255


def test_an_unknown_loss_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no loss 'marign'.*did you mean 'margin'"):
        PGD(loss="marign")
