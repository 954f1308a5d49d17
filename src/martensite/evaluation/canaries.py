"""Canaries: the suite itself, on models whose robust accuracy is known; one that gets them wrong can't be believed elsewhere.

A linear model has a closed form: the distance to its boundary is |w x + b| over the dual norm of w (Goodfellow, Shlens and
Szegedy 2015, arXiv:1412.6572, sec. 4, for Linf). ``masked`` is the same model behind logits so far apart that cross-entropy is
flat, ``stochastic`` the same behind noise (see `attacks.canaries`): they stand for models that hide how weak they are.
"""

from collections.abc import Callable

import torch
from torch import nn

from martensite.attacks.canaries import Noisy, Saturated
from martensite.core.rng import generator
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import answers
from martensite.evaluation.canary import Canary, Name
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.diagnostics.predictions_change import predictions_change
from martensite.evaluation.tally import Tally
from martensite.models import Access, BlackBox, Classifier, Model
from martensite.threat import Norm, ThreatModel

FEATURES, SAMPLES = 8, 20
INSIDE, OUTSIDE = 0.8, 1.2  # distances to the boundary, in eps: half of the samples each
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.2, "l1": 0.2}
NOISE = 0.6  # of the stochastic one, in its largest logit: one draw in four is wrong where the mean is right
MISSED = 0.1  # of the samples that a search by queries may miss

Measure = Callable[[Model, Dataset, ThreatModel], Tally]


def linear_canary(norm: Norm) -> tuple[nn.Linear, Dataset, ThreatModel]:
    """A linear model, samples of which half are 0.8 eps from its boundary and half 1.2 eps, and the threat model.

    No adversarial comes near the walls of the box, so the closed form is exact.
    """
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    rng = generator(0, "canary", norm)
    w = torch.randn(FEATURES, generator=rng, dtype=torch.float64)
    w = w.sign() * (0.5 + w.abs())
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    x = 0.5 + 0.05 * (torch.rand(SAMPLES, FEATURES, generator=rng, dtype=torch.float64) - 0.5)
    y = torch.arange(SAMPLES) % 2
    lead = threat.eps * dual * torch.where(torch.arange(SAMPLES) < SAMPLES // 2, INSIDE, OUTSIDE)
    wanted = torch.where(y == 1, lead, -lead)
    x = x + ((wanted - (x - 0.5) @ w) / (w @ w))[:, None] * w
    net = nn.Linear(FEATURES, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([-w / 2, w / 2]))
        net.bias.copy_(torch.stack([w.sum() / 4, -w.sum() / 4]))
    return net, Dataset(x.float(), y, 2, name="canary", split="test"), threat


def sing(name: Name, norm: Norm, access: Access, measure: Measure) -> Canary:
    """Run one.

    Args:
        name: Which.
        norm: Of the evaluation; L0 has no canary.
        access: What the model under evaluation grants: the canary grants no more.
        measure: The suite, on a model.
    """
    net, data, threat = linear_canary(norm)
    noise = NOISE * float(net(data.x).detach().abs().max())
    hiding: dict[Name, nn.Module] = {"linear": net, "masked": Saturated(net), "stochastic": Noisy(net, noise)}
    model = _granting(Classifier(hiding[name], 2), access)
    tally, expected = measure(model, data, threat), SAMPLES - SAMPLES // 2
    found = tally.outcomes().count("robust")
    right = expected <= found <= expected + (0 if access is Access.GRADIENTS else int(MISSED * SAMPLES))
    if name == "stochastic":
        noticed = predictions_change(Evidence(model, data, threat, tally, answers(model, data.x), False, 0))
        # Figures of single draws are luck: they must be called invalid. Those of many draws may be off by a little.
        judged = abs(found - expected) <= int(MISSED * SAMPLES)
        right = noticed is not None and (noticed.severity == "invalid" or judged)
    return Canary(name=name, expected=expected, found=found, n=SAMPLES, passed=right)


def _granting(model: Classifier, access: Access) -> Model:
    if access is Access.GRADIENTS:
        return model

    def predict(x: object) -> object:
        logits = answers(model, torch.as_tensor(x))
        return (logits if access is Access.SCORES else logits.argmax(1)).numpy()

    return BlackBox(predict, 2, access=access)


def singing(canaries: tuple[Canary, ...]) -> tuple[Diagnostic, ...]:
    """Findings from canaries: an invalid one for each that failed."""
    return tuple(
        Diagnostic(
            name=f"canary_{canary.name}",
            severity="invalid",
            evidence=f"on the built-in {canary.name} model {canary.found} of {canary.n} came out robust, {canary.expected} are, "
            "and nothing else was noticed",
            remedy="this suite can't be believed: add attacks (restarts, a loss on logits, queries), or use a shipped one",
        )
        for canary in canaries
        if not canary.passed
    )


def unsung(norm: Norm) -> tuple[Diagnostic, ...]:
    """The finding about a suite without canaries; nothing in L0, which has none."""
    silent = Diagnostic(
        name="no_canary",
        severity="warning",
        evidence="the suite was tried on no built-in model whose robust accuracy is known",
        remedy="add canaries: [linear, masked, stochastic] to the suite: a model that hides how weak it is would go unnoticed",
    )
    return () if norm == "l0" else (silent,)
