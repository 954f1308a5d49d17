"""Loss over steps: closed form on a linear model, the same however it is batched, nothing when it is off."""

import pytest
import torch
from torch import nn

from martensite.attacks import APGD, FGSM, PGD, AutoAttack, attack
from martensite.models import Classifier
from martensite.threat import ThreatModel

EPS, STEP, STEPS = 0.1, 0.03, 5
THREAT = ThreatModel(norm="linf", eps=EPS)
CLIMB = PGD(steps=STEPS, step_size=STEP, random_start=False, loss="margin")


@pytest.fixture(scope="module")
def model():
    layer = nn.Linear(4, 2)
    half = torch.tensor([0.5, -1.0, 0.25, 2.0]) / 2
    layer.weight.data, layer.bias.data = torch.stack([-half, half]), torch.tensor([0.2, -0.2])
    return Classifier(layer, 2)


@pytest.fixture(scope="module")
def data(model):
    x = 0.3 + 0.4 * torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return x, model(x).argmax(1)


def test_the_loss_of_a_linear_model_has_a_closed_form(model, data):
    x, y = data
    with torch.inference_mode():
        logits = model(x).double()
    start = -(logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).squeeze(1)
    slope = (model.net.weight[0] - model.net.weight[1]).abs().sum().double()
    at = torch.stack([start + slope * min(step * STEP, EPS) for step in range(STEPS)])
    broken = (at > 0).cummax(0).values
    leaves = torch.where(broken.any(0), broken.int().argmax(0), STEPS - 1)  # it stays with the loss at which it left
    expected = torch.stack([at.gather(0, leaves.clamp(max=step)[None]).sum() for step in range(STEPS)])
    (found,) = attack(CLIMB, model, x, y, THREAT, trace=True).traces
    assert found.samples == len(x)
    assert torch.allclose(found.total, expected, atol=1e-4)
    assert found.left.tolist() == [len(x), *[float((~broken[step]).sum()) for step in range(STEPS - 1)]]
    assert 0 < found.left[-1] < len(x)


@pytest.mark.parametrize("method", [PGD(steps=4, restarts=2), APGD(steps=6, loss="dlr"), APGD(steps=6, restarts=2)])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_batches_add_up_and_nothing_is_asked_for_it(method, norm, model, data):
    threat = ThreatModel(norm=norm, eps=0.05)
    off = attack(method, model, *data, threat)
    whole, parts = (attack(method, model, *data, threat, trace=True, batch_size=size) for size in (40, 7))
    assert off.traces == ()
    assert (off.forwards, off.backwards) == (whole.forwards, whole.backwards)
    assert torch.equal(off.adversarial, whole.adversarial)
    (one,), (other,) = whole.traces, parts.traces
    assert (one.name, one.loss) == (method.kind, method.loss)
    assert len(one.total) >= method.steps
    assert torch.allclose(one.total, other.total, rtol=1e-5)
    assert torch.equal(one.left, other.left)


def test_the_store_keeps_it(model, data, tmp_path):
    first, again = (attack(CLIMB, model, *data, THREAT, trace=True, batch_size=9, store=tmp_path) for _ in range(2))
    assert torch.equal(first.traces[0].total, again.traces[0].total)
    assert torch.equal(first.traces[0].left, again.traces[0].left)
    assert first.traces[0].samples == again.traces[0].samples == len(data[0])


def test_a_batch_that_fails_leaves_nothing(model, data, monkeypatch):
    x, y = data
    perturb = PGD.perturb

    def failing(self, oracle, x, y, threat, rng):
        found = perturb(self, oracle, x, y, threat, rng)
        if len(x) > 10:
            raise RuntimeError("too many at once")
        return found

    expected = attack(CLIMB, model, x, y, THREAT, trace=True).traces[0]
    monkeypatch.setattr(PGD, "perturb", failing)
    found = attack(CLIMB, model, x, y, THREAT, trace=True).traces[0]
    assert found.samples == expected.samples
    assert torch.allclose(found.total, expected.total)


def test_only_what_climbs_step_by_step_has_one(model, data):
    threat = ThreatModel(norm="linf", eps=0.005)
    assert attack(FGSM(), model, *data, threat, trace=True).traces == ()
    ensemble = attack(AutoAttack(steps=5, queries=20, targets=1), model, *data, threat, trace=True)
    assert [trace.name for trace in ensemble.traces] == ["apgd"]
