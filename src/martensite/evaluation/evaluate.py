"""Evaluate a model: every attack of a suite, the worst case sample by sample, a security curve, all with intervals."""

import time
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from martensite.attacks.trust import PROBABILITIES, probabilities
from martensite.core.engine import Engine
from martensite.core.errors import ModelError, ThreatError
from martensite.core.events import Event, Listener, silent
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import answers
from martensite.evaluation.canaries import sing, singing
from martensite.evaluation.canary import Canary
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics import CHECKS, Evidence
from martensite.evaluation.diagnostics.training_mode import in_training
from martensite.evaluation.fit import Fitted, Job, fit
from martensite.evaluation.gather import Adversarials
from martensite.evaluation.report import CurvePoint, DataRecord, Environment, Rate, RobustnessReport
from martensite.evaluation.suite import Suite, load_suite
from martensite.evaluation.tally import Tally
from martensite.evaluation.work import SHARD, Piece, Work
from martensite.models import Access, Classifier, Model, check_logits, probe
from martensite.models.digest import identity
from martensite.threat import Norm, ThreatModel

GRID = 24  # points of a curve that distances draw at no cost


def evaluate(
    model: Model,
    data: Dataset,
    threat: ThreatModel,
    suite: str | Path | Suite = "standard",
    *,
    seed: int = 0,
    engine: Engine | None = None,
    store: Path | None = None,
    adversarials: Path | None = None,
    certified: Tensor | None = None,
    listener: Listener = silent,
) -> RobustnessReport:
    """Measure robustness.

    Args:
        model: The model; left as it was. One that only answers queries is attacked by the suite's attacks that need no more.
        data: Labelled samples, not used in training.
        threat: What the adversary may do.
        suite: A shipped suite's name, a YAML file, or a `Suite`.
        seed: Of all randomness.
        engine: Where the attacks run; None: in this process, one after the other.
        store: Folder for what is finished, from which a run that was killed goes on, to the same report.
        adversarials: File to keep the nearest adversarial of each broken sample in (safetensors: ``index``, ``adversarial``).
        certified: (n,) radii in the threat model's norm that a certifier holds, 0 where it abstains; an adversarial inside one
            makes the report invalid.
        listener: Gets an event an attack and shard of samples.

    Returns:
        The report; the same for the same seed but for ``timing``.

    Raises:
        DataError, ModelError, ThreatError, AccessError, ConfigError: bad input, before any attack starts.
    """
    suite = load_suite(suite)
    if threat.goal != "untargeted":
        raise ThreatError(
            "the threat model's goal is targeted", "robust accuracy is about any wrong class", "use goal untargeted"
        )
    try_out(model, data.x[:2])
    if store is not None and identity(model).startswith("unnamed:"):
        raise ModelError(
            f"a {type(model).__name__} was given with a store",
            "its answers can't be recognised by a digest, so nobody could tell whose they are",
            "give it a digest, or leave store= out",
        )
    fitted = fit(suite, model, threat, data.shape)
    training = in_training(model)
    started = time.perf_counter()
    canaries = try_suite(suite, threat.norm, model.access)
    found = None if adversarials is None else Adversarials(data)
    tally = measure(Work(model, data, seed, store, found is not None), fitted, engine, listener, found)
    if found is not None and adversarials is not None:
        found.save(adversarials)
    evidence = Evidence(model, data, threat, tally, answers(model, data.x), training, seed, certified)
    findings = (*singing(canaries), *(finding for check in CHECKS if (finding := check(evidence)) is not None))
    return _summarise(evidence, suite, fitted, canaries, findings, time.perf_counter() - started)


def measure(
    work: Work, fitted: Fitted, engine: Engine | None = None, listener: Listener = silent, found: Adversarials | None = None
) -> Tally:
    """Run what fits on all samples of the work's data: first every job of its own, then the cascade on what is left."""
    n = len(work.data)
    tally, everything = Tally(n, fitted.jobs), torch.arange(n)
    done, total = 0, -(-n // SHARD) * (len(fitted.jobs) + len(fitted.cascade))
    layers: list[tuple[Job, ...]] = [layer for layer in (fitted.jobs, *((job,) for job in fitted.cascade)) if layer]
    for layer in layers:
        if layer[0].role == "survivors":
            tally.add(layer)
        rows = everything if layer is layers[0] else (tally.correct & ~tally.broken).nonzero().flatten()
        pieces = [Piece(job, part) for job in layer for part in torch.split(rows, SHARD) if len(part)]
        for piece, measured in zip(pieces, (engine.map if engine else map)(work, pieces), strict=True):
            tally.of(piece.job).take(piece.rows, measured)
            if found is not None:
                found.take(piece, measured)
            done += 1
            left = float((tally.of(piece.job).robust[piece.rows]).float().mean())
            text = f"{piece.job.name} at eps {piece.job.threat.eps:.4g}"
            listener(Event("evaluate", done, max(total, done), "attack", {"robust": left}, text))
    return tally


_SUNG: dict[str, tuple[Canary, ...]] = {}  # by suite, norm and access: nothing else decides what canaries sing


def try_suite(suite: Suite, norm: Norm, access: Access) -> tuple[Canary, ...]:
    """The suite's canaries, with what it has for this norm and access; none in L0, where a linear model is no closed form."""

    def attempt(model: Model, data: Dataset, threat: ThreatModel) -> Tally:
        return measure(Work(model, data, 0), fit(suite, model, threat, data.shape))

    key = repr((suite, norm, access))
    if key not in _SUNG:
        _SUNG[key] = () if norm == "l0" else tuple(sing(name, norm, access, attempt) for name in suite.canaries)
    return _SUNG[key]


def try_out(model: Model, x: Tensor) -> None:
    """Ask a model about a few inputs (n, *d) and check what comes out.

    Raises:
        ModelError: it fails on them, or its answer isn't (n, K) finite numbers.
    """
    if isinstance(model, Classifier):
        probe(model, x)
    else:
        check_logits(model(x.to(model.device, model.dtype)), len(x), model.classes)


def _summarise(
    evidence: Evidence,
    suite: Suite,
    fitted: Fitted,
    canaries: tuple[Canary, ...],
    findings: tuple[Diagnostic, ...],
    seconds: float,
) -> RobustnessReport:
    model, data, threat, tally = evidence.model, evidence.data, evidence.threat, evidence.tally
    n, outcomes = len(data), tally.outcomes()
    clean, worst = Rate.of(int(tally.correct.sum()), n), Rate.of(outcomes.count("robust"), n)
    points = {0.0: clean, threat.eps: worst}
    points |= {eps: Rate.of(tally.accuracy_at(eps), n) for eps in _levels(suite, fitted, tally, threat) if eps not in points}
    access: dict[Access, str] = {Access.GRADIENTS: "gradients", Access.SCORES: "scores", Access.DECISIONS: "decisions"}
    return RobustnessReport.model_validate(
        {
            "model_digest": identity(model),
            "data": record(data),
            "threat": threat,
            "suite": suite.name,
            "seed": evidence.seed,
            "clean_accuracy": clean,
            "robust_accuracy": worst,
            "attacks": tally.rows(),
            "curve": tuple(CurvePoint(eps=eps, accuracy=rate) for eps, rate in sorted(points.items())),
            "outcomes": outcomes,
            "broken_by": tally.broken_by(),
            "distances": tuple(distance if isfinite(distance) else None for distance in tally.nearest.tolist()),
            "access": access[model.access],
            "left_out": fitted.left_out,
            "canaries": canaries,
            "diagnostics": findings,
            "warnings": (*_outputs(model, evidence.logits), *tally.warnings()),
            "errors": tally.faults(),
            "environment": Environment.here(),
            "timing": {"total": seconds} | {one.job.name: one.seconds for one in tally.own},
        }
    )


def _outputs(model: Model, logits: Tensor) -> tuple[str, ...]:
    return (PROBABILITIES,) if model.access is Access.GRADIENTS and probabilities(logits) else ()


def _levels(suite: Suite, fitted: Fitted, tally: Tally, threat: ThreatModel) -> Iterator[float]:
    """The eps of the security curve: where it was measured, and between those wherever distances say what there is."""
    yield from (one.job.threat.eps for one in tally.curve)
    if fitted.distances is not None and suite.curve:
        most = max(*suite.curve, 1.0) * threat.eps
        yield from (most * step / GRID for step in range(1, GRID + 1))


def record(data: Dataset) -> DataRecord:
    """What a report says about a dataset."""
    return DataRecord(name=data.name, split=data.split, n=len(data), classes=data.classes, shape=data.shape, digest=data.digest)
