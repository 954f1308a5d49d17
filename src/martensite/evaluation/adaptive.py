"""Attacks on a defended model as an adversary runs them who knows the defence.

Through stages without a gradient they go by BPDA (`Defended` has it built in), over randomness by expectation (EOT), and against
detectors and abstentions with the alarm in the loss, class by class (`Evasion`). Athalye, Carlini and Wagner 2018,
arXiv:1802.00420, sec. 4; Tramer et al. 2020, "On adaptive attacks to adversarial example defenses", arXiv:2002.08347.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from martensite.attacks import EOT, Attack, AttackResult, AutoAttack, attack
from martensite.attacks.trace import Trace
from martensite.core.config import canonical_json
from martensite.core.rng import derive
from martensite.defenses import Defended, Evasion
from martensite.evaluation.answers import answers
from martensite.evaluation.fit import Fitted, Job
from martensite.evaluation.suite import Suite
from martensite.models import Access, Model
from martensite.threat import ThreatModel

BARE = "the bare model"  # what the model without its defences is called where it is searched


def adapted(suite: Suite, model: Model) -> tuple[Suite, tuple[str, ...]]:
    """The suite for this model, and what was left out of it.

    Of a model that answers at random every attack asks several times and is judged over several draws; what can't do that
    (searches for the nearest, by queries, ensembles) would break samples by one draw's luck and is left out.
    """
    if not isinstance(model, Defended) or not model.random:
        return suite, ()
    left: list[str] = []

    def over(method: Attack) -> Attack | None:
        if isinstance(method, AutoAttack):
            return method.model_copy(update={"version": "rand", "draws": model.draws})
        if isinstance(method, EOT):
            return method
        if method.bounded and method.ball and method.needs >= Access.GRADIENTS and _single(method):
            return EOT(attack=method, samples=model.draws, judge_samples=model.draws)
        left.append(f"{method.kind} is judged by one draw and this model answers at random")
        return None

    def all_over(methods: Sequence[Attack]) -> tuple[Attack, ...]:
        return tuple(found for method in methods if (found := over(method)) is not None)

    changed = {
        "attacks": all_over(suite.attacks),
        "cascade": all_over(suite.cascade),
        "distances": None,
        "curve_attack": None if suite.curve_attack is None else over(suite.curve_attack),
    }
    if changed["curve_attack"] is None:
        changed["curve"] = ()
    return suite.model_copy(update=changed), tuple(dict.fromkeys(left))


def _single(method: Attack) -> bool:
    return type(method).members is Attack.members


def with_naive(fitted: Fitted, model: Model, adaptive: bool, unfit: tuple[str, ...] = ()) -> Fitted:
    """The same jobs, and one that knows nothing of the defence: its adversarials are made on the bare model.

    Args:
        fitted: What was to run.
        model: Any; one without defences changes nothing.
        adaptive: False: every attack by gradients is made on the bare model, and none is adaptive.
        unfit: What `adapted` left out.
    """
    if not isinstance(model, Defended):
        return fitted
    fitted = replace(fitted, left_out=(*fitted.left_out, *unfit))
    whole = [job for job in fitted.jobs if job.role == "all" and job.method.needs >= Access.GRADIENTS and job.method.ball]
    if not adaptive:
        jobs = tuple(replace(job, surrogate=BARE) for job in whole)
        return replace(fitted, jobs=jobs or fitted.jobs, cascade=(), distances=None)
    best = next((job for job in reversed(whole) if job.method.bounded), None)
    if best is None:
        return fitted
    method = best.method.attack if isinstance(best.method, EOT) else best.method
    # A random model is judged over many draws, whoever made the adversarial.
    judged = best.method if isinstance(best.method, EOT) else method
    naive = Job(f"{method.kind} from {BARE}", judged, best.threat, "all", surrogate=BARE)
    place = max(fitted.jobs.index(job) for job in whole) + 1
    return replace(fitted, jobs=(*fitted.jobs[:place], naive, *fitted.jobs[place:]))


def assault(
    method: Attack, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, seed: int, **options: Any
) -> AttackResult:
    """`attack`, on a model that may refuse to answer.

    A sample is correct if its class is predicted and the clean input isn't refused; it is broken if another class is predicted
    and the adversarial isn't refused either (Tramer 2022, "Detecting adversarial examples is (nearly) as hard as classifying
    them", arXiv:2107.11630, sec. 2). Arguments and errors are those of `attack`.
    """
    steady(model, derive(seed, "assault", canonical_json(method.model_dump(mode="json"))))
    if isinstance(model, Defended) and model.random:
        options["store"] = None  # a run that went on from a batch would draw otherwise
    if not isinstance(model, Defended) or not model.defence.rejects:
        return attack(method, model, x, y, threat, seed=seed, **options)
    indices: Tensor = torch.arange(len(x)) if options.get("indices") is None else options["indices"]
    clean = model.respond(x)
    answered = ~(clean.flagged | clean.abstained)
    rows, parts = [], []
    for label in torch.unique(y).tolist():
        here = (y == label).nonzero().flatten()
        mine = options | {"indices": indices[here]}
        rows.append(here)
        parts.append(attack(method, Evasion(model, label), x[here], y[here], threat, seed=seed, **mine))
    whole = _joined(parts, torch.cat(rows).argsort())
    correct = whole.correct & answered
    return replace(whole, correct=correct, success=whole.success | ~correct)


def misjudged(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """(n,) bool: another class than y (n,) is predicted for x (n, *d) and nothing refuses; at least in half of the draws."""
    if not isinstance(model, Defended):
        return answers(model, x).argmax(1) != y
    votes = torch.zeros(len(x), dtype=torch.int64)
    for _ in range(model.draws):
        seen = model.respond(x)
        votes += (seen.prediction != y) & ~seen.flagged & ~seen.abstained
    return 2 * votes >= model.draws


def steady(model: Model, seed: int | None) -> None:
    """Have a random defence draw what this seed says from here on, so that runs repeat; None: what nobody can foresee."""
    if isinstance(model, Defended) and model.random:
        model.reseed(secrets.randbits(62) if seed is None else seed)


def bare(model: Model) -> dict[str, Model]:
    """A defended model without its defences, by its name among surrogates; nothing of another one."""
    return {BARE: model.base} if isinstance(model, Defended) else {}


def _joined(parts: Sequence[AttackResult], order: Tensor) -> AttackResult:
    """One result of several on parts of the samples; ``order`` brings the parts' rows, one after the other, into place."""
    whole: dict[str, Any] = {"decided": any(part.decided for part in parts), "traces": _traces(parts)}
    for name in ("adversarial", "success", "distance", "correct", "error", "cost", "unmeasured"):
        whole[name] = torch.cat([getattr(part, name) for part in parts])[order]
    for name in ("forwards", "backwards", "seconds", "rejected", "discarded", "flat", "seen"):
        whole[name] = sum(getattr(part, name) for part in parts)
    for name in ("messages", "warnings"):
        whole[name] = tuple(dict.fromkeys(line for part in parts for line in getattr(part, name)))
    return AttackResult(**whole, batch_size=parts[0].batch_size, precision=parts[0].precision)


def _traces(parts: Sequence[AttackResult]) -> tuple[Trace, ...]:
    """Traces of the same search add up."""
    found: dict[tuple[int, str, str], Trace] = {}
    for part in parts:
        for place, one in enumerate(part.traces):
            key = (place, one.name, one.loss)
            found[key] = found[key] + one if key in found else one
    return tuple(found.values())
