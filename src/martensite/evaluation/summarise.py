"""An evaluation as its report."""

from collections.abc import Iterator
from math import isclose, isfinite

from torch import Tensor

from martensite.attacks.trust import PROBABILITIES, probabilities
from martensite.data.dataset import Dataset
from martensite.evaluation.anytime import Decision, anytime_rate
from martensite.evaluation.beside import Beside
from martensite.evaluation.calibration import Calibration, expected_calibration_error
from martensite.evaluation.canary import Canary
from martensite.evaluation.classes import by_class
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics import Evidence
from martensite.evaluation.distances import summarise_distances
from martensite.evaluation.fit import Fitted
from martensite.evaluation.naive_and_honest import defence_record
from martensite.evaluation.report import CurvePoint, DataRecord, Environment, Rate, RobustnessReport
from martensite.evaluation.suite import Suite
from martensite.evaluation.tally import Tally
from martensite.evaluation.traces import LossTrace, loss_trace
from martensite.models import Access, Model
from martensite.models.digest import identity
from martensite.threat import ThreatModel

GRID = 24  # points of a curve that distances draw at no cost


def summarise(
    evidence: Evidence,
    suite: Suite,
    fitted: Fitted,
    canaries: tuple[Canary, ...],
    findings: tuple[Diagnostic, ...],
    decision: Decision | None,
    beside: Beside,
    timing: dict[str, float],
) -> RobustnessReport:
    """The typed report.

    Args:
        evidence: What was measured.
        suite: Which suite.
        fitted: What of it was run.
        canaries: How they came out.
        findings: Of the self-checks.
        decision: Where the run was to stop at one.
        beside: What was measured beside the attacks.
        timing: Seconds of all, and of the clean inputs.
    """
    model, data, threat, tally = evidence.model, evidence.data, evidence.threat, evidence.tally
    n, outcomes = len(data), tally.outcomes()
    clean, worst = (
        Rate.of(int(tally.correct.sum()), n),
        (Rate.of if decision is None else anytime_rate)(outcomes.count("robust"), n),
    )
    points = {0.0: clean, threat.eps: worst}
    points |= {eps: Rate.of(tally.accuracy_at(eps), n) for eps in _levels(suite, fitted, tally, threat) if eps not in points}
    access: dict[Access, str] = {Access.GRADIENTS: "gradients", Access.SCORES: "scores", Access.DECISIONS: "decisions"}
    report = RobustnessReport.model_validate(
        {
            "model_digest": identity(model),
            "data": record(data),
            "threat": threat,
            "suite": suite.name,
            "suite_digest": suite.digest,
            "seed": evidence.seed,
            "clean_accuracy": clean,
            "robust_accuracy": worst,
            "attacks": tally.rows(),
            "curve": tuple(CurvePoint(eps=eps, accuracy=rate) for eps, rate in sorted(points.items())),
            "outcomes": outcomes,
            "broken_by": tally.broken_by(),
            "distances": tuple(distance if isfinite(distance) else None for distance in tally.nearest.tolist()),
            "access": access[model.access],
            "left_out": (*fitted.left_out, *beside.left_out),
            "canaries": canaries,
            "classes": by_class(data.y.tolist(), data.class_names, tally.correct.tolist(), [o == "robust" for o in outcomes]),
            "minimal": summarise_distances(tally.nearest, tally.correct, data.x, threat),
            "calibration": _calibration(evidence),
            "traces": tuple(_traces(tally)),
            "surrogates": beside.surrogates,
            "transfer": beside.transfer,
            "corruption": beside.corruption,
            "clever": beside.clever,
            "norms": beside.norms,
            "defence": defence_record(evidence),
            "decision": decision,
            "diagnostics": findings,
            "warnings": (*_outputs(model, evidence.logits), *tally.warnings()),
            "errors": tally.faults(),
            "environment": Environment.here(),
            "timing": timing | {one.job.name: one.seconds for one in tally.own},
        }
    )
    return report.model_copy(update={"decision": report.decided})


def _traces(tally: Tally) -> Iterator[LossTrace]:
    for one in tally.own:
        for trace in one.traces.values():
            if (found := loss_trace(one.job.name, trace)) is not None:
                yield found


def _outputs(model: Model, logits: Tensor) -> tuple[str, ...]:
    return (PROBABILITIES,) if model.access is Access.GRADIENTS and probabilities(logits) else ()


def _calibration(evidence: Evidence) -> Calibration | None:
    shares, tally = probabilities(evidence.logits), evidence.tally
    if evidence.model.access is Access.SCORES:
        sure = (evidence.logits if shares else evidence.logits.softmax(1)).amax(1)
        known = tally.known
        return Calibration(clean=expected_calibration_error(sure[known], tally.correct[known])) if bool(known.any()) else None
    if evidence.model.access is not Access.GRADIENTS or shares:
        return None
    clean = evidence.logits.softmax(1).amax(1)
    measured = ~tally.error  # of a sample that could not be attacked nobody knows what the model would say
    if not bool(measured.any()):
        return None
    attacked = expected_calibration_error(tally.confidence(clean)[measured], (tally.correct & ~tally.broken)[measured])
    return Calibration(clean=expected_calibration_error(clean, tally.correct), attacked=attacked)


def _levels(suite: Suite, fitted: Fitted, tally: Tally, threat: ThreatModel) -> Iterator[float]:
    """The eps of the security curve: where it was measured, and between those wherever distances say what there is."""
    measured = [one.job.threat.eps for one in tally.curve]
    yield from measured
    if fitted.distances is not None and suite.curve:
        most = max(*suite.curve, 1.0) * threat.eps
        for eps in (most * step / GRID for step in range(1, GRID + 1)):
            if not any(isclose(eps, other) for other in (*measured, threat.eps)):  # the same point but for rounding
                yield eps


def record(data: Dataset) -> DataRecord:
    """What a report says about a dataset."""
    return DataRecord(name=data.name, split=data.split, n=len(data), classes=data.classes, shape=data.shape, digest=data.digest)
