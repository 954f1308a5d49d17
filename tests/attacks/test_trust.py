"""What a run says about its own trustworthiness: probabilities for logits, vanished gradients, rejected candidates."""

from typing import ClassVar, Literal

import pytest
import torch
from torch import nn

from martensite.attacks import (
    APGD,
    CW,
    DDN,
    EAD,
    FAB,
    FGSM,
    FMN,
    JSMA,
    MIFGSM,
    PGD,
    Attack,
    BrendelBethge,
    DeepFool,
    HopSkipJump,
    SigmaZero,
    Square,
    SuperDeepFool,
    attack,
)
from martensite.models import Access, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)


def network(*last, scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), *last)
    net[2].weight.data *= scale
    net[2].bias.data *= scale
    return Classifier(net, 3)


@pytest.fixture
def x():
    return torch.rand(40, 6, generator=torch.Generator().manual_seed(1))


def run(method, model, x, **options):
    with torch.no_grad():
        y = model(x.to(model.dtype)).argmax(1)
    return attack(method, model, x, y, THREAT, **options)


def test_probabilities_are_noticed(x):
    result = run(PGD(steps=3), network(nn.Softmax(1)), x)
    assert len(result.warnings) == 1
    assert "probabilities" in result.warnings[0]
    assert "return the logits" in result.warnings[0]
    assert run(PGD(steps=3), network(), x).warnings == ()
    assert run(PGD(steps=3), network(nn.Softmax(1)), x[:1]).warnings == result.warnings
    assert run(PGD(steps=3), network(), x[:1]).warnings == ()
    assert run(PGD(steps=3), network(nn.LogSoftmax(1)), x).warnings == ()
    assert run(PGD(steps=3), network(nn.Sigmoid()), x).warnings == ()  # none negative, but the sums differ
    assert run(PGD(steps=3), network(nn.Softmax(1)).half(), x).warnings == result.warnings


def test_attacks_without_a_gradient_may_have_probabilities(x):
    for method in (Square(queries=5), HopSkipJump(queries=50)):
        assert run(method, network(nn.Softmax(1)), x).warnings == ()


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


@pytest.mark.parametrize(
    ("method", "norm"),
    [
        *((method, "linf") for method in (PGD(steps=5), APGD(steps=10), MIFGSM(), FMN(steps=30), FAB(steps=10))),
        *((method, "l2") for method in (PGD(steps=5), APGD(steps=10), FAB(steps=10), DeepFool(), SuperDeepFool(), DDN(steps=30))),
        *((method, "l2") for method in (CW(steps=30, search_steps=4), BrendelBethge(steps=30), FMN(steps=30))),
        (EAD(steps=30, search_steps=4), "l1"),
        *((method, "l0") for method in (JSMA(), SigmaZero(steps=50))),
    ],
    ids=lambda one: getattr(one, "kind", one),
)
def test_a_search_gets_over_slopes_that_are_infinite_and_says_so(x, method, norm):
    """A root at black features: where x is 0 its slope is infinite, and one step along it used to be many a search's last."""
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.4] = 0.0
    model = Classifier(nn.Sequential(Root(), network().net), 3)
    threat = ThreatModel(norm=norm, eps={"linf": 0.3, "l2": 0.7, "l1": 1.5, "l0": 4}[norm])
    result = attack(method, model, x, model(x).argmax(1), threat)
    assert not result.error.any(), result.messages
    assert result.success.float().mean() > 0.5
    assert "NaN or infinite entries" in result.warnings[0]


def test_saturated_logits_are_noticed(x):
    # Gaps of thousands between logits: cross-entropy's slope is zero in float32.
    for method in (PGD(steps=3), FGSM(), APGD(steps=3)):
        found = run(method, network(scale=1e5), x)
        assert len(found.warnings) == 1
        assert "the gradient is zero" in found.warnings[0]
        assert "of 40 samples" in found.warnings[0]
    assert run(PGD(steps=3, loss="margin"), network(scale=1e5), x).warnings == ()
    assert run(PGD(steps=3), network(scale=1e5), x, batch_size=7).warnings[0].split(":")[0] == "pgd"


def test_a_masked_gradient_is_noticed(x):
    class Staircase(nn.Module):
        def forward(self, x):
            return (x * 255).round() / 255

    model = Classifier(nn.Sequential(Staircase(), network().net), 3)
    assert "40 of 40" in run(PGD(steps=3), model, x).warnings[0]
    assert run(Square(queries=5), model, x).warnings == ()


def test_looking_costs_no_pass(x):
    quiet, loud = (run(PGD(steps=3, random_start=False), network(scale=scale), x) for scale in (1.0, 1e5))
    assert loud.forwards == 40 * 5  # clean, three steps, the judge
    assert quiet.forwards <= loud.forwards


class Leaves(Attack):
    """Leaves the ball for some samples."""

    kind: Literal["leaves"] = "leaves"
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf",)

    def perturb(self, oracle, x, y, threat, rng):
        return torch.where(x[:, :1] > 0.5, x + 0.2, x).clamp(0, 1)


def test_rejections_are_counted(x):
    model = network()
    result = run(Leaves(), model, x, batch_size=8)
    far = ((x + 0.2).clamp(0, 1) - x).amax(1) > 0.1 + 1e-6
    assert result.rejected == int((far & (x[:, 0] > 0.5)).sum()) == int(result.error.sum()) > 0
    assert run(PGD(steps=3), model, x).rejected == 0


@pytest.mark.parametrize(
    ("method", "norm"), [(DeepFool(), "l2"), (DeepFool(), "linf"), (FAB(steps=3), "l2"), (FAB(steps=3), "linf")]
)
def test_a_gradient_that_vanishes_is_said_of_attacks_by_several_gradients(method, norm):
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.stack([x.round().sum(1), 2.0 - x.round().sum(1)], 1) + 0.0 * x.sum(1, keepdim=True)

    model, x = Classifier(Rounded(), 2), torch.full((6, 3), 0.4)
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps=0.05))
    assert (result.flat, result.seen) == (6, 6)
    assert any("gradient" in warning for warning in result.warnings)
