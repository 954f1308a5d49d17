"""Evaluate a model: every attack of a suite, the worst case sample by sample, a security curve, all with intervals."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from martensite.attacks import Attack, AttackResult, attack
from martensite.core.engine import Engine
from martensite.core.errors import ThreatError
from martensite.core.events import Event, Listener, silent
from martensite.data.dataset import Dataset
from martensite.evaluation.report import AttackRow, CurvePoint, DataRecord, Environment, Outcome, Rate, RobustnessReport
from martensite.evaluation.suite import Suite, load_suite
from martensite.models import Classifier, probe
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel


def evaluate(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    suite: str | Path | Suite = "standard",
    *,
    seed: int = 0,
    engine: Engine | None = None,
    listener: Listener = silent,
) -> RobustnessReport:
    """Measure robustness.

    Args:
        model: The model; left as it was.
        data: Labelled samples, not used in training.
        threat: What the adversary may do.
        suite: A shipped suite's name, a YAML file, or a `Suite`.
        seed: Of all randomness.
        engine: Where the attacks run; None: in this process, one after the other.
        listener: Gets an event an attack.

    Returns:
        The report; the same for the same seed but for ``timing``.

    Raises:
        DataError, ModelError, ThreatError, ConfigError: bad input, before any attack starts.
    """
    suite = load_suite(suite)
    if threat.goal != "untargeted":
        raise ThreatError(
            "the threat model's goal is targeted", "robust accuracy is about any wrong class", "use goal untargeted"
        )
    probe(model, data.x[:2])
    for method in (*suite.attacks, *((suite.curve_attack,) if suite.curve and suite.curve_attack else ())):
        method.check(model, threat)
    started = time.perf_counter()
    plan = list(_plan(suite, threat, data))
    work = _Work(model, data, seed)
    results: list[AttackResult] = []
    for done, (job, result) in enumerate(zip(plan, (engine.map if engine else map)(work, plan), strict=True), start=1):
        results.append(result)
        robust = float(result.robust.float().mean())
        listener(Event("evaluate", done, len(plan), "attack", {"robust": robust}, f"{job.name} at eps {job.threat.eps:.4g}"))
    return _summarise(model, data, threat, suite, seed, plan, results, time.perf_counter() - started)


@dataclass(frozen=True)
class _Job:
    """One attack at one eps; ``multiple`` is None for the suite's own attacks."""

    name: str
    method: Attack
    threat: ThreatModel
    multiple: float | None = None


@dataclass(frozen=True)
class _Work:
    """What an engine runs: picklable, so that it can run elsewhere."""

    model: Classifier
    data: Dataset
    seed: int

    def __call__(self, job: _Job) -> AttackResult:
        return attack(job.method, self.model, self.data.x, self.data.y, job.threat, seed=self.seed)


def _plan(suite: Suite, threat: ThreatModel, data: Dataset) -> Iterator[_Job]:
    for method in suite.attacks:
        alone = sum(other.kind == method.kind for other in suite.attacks) == 1
        name = method.kind if alone else _full_name(method)
        yield _Job(name, method, threat)
    least = 1.0 if threat.norm == "l0" else 0.0  # an L0 eps counts features
    widest = threat.ball.diameter(data.x[0].numel(), threat.box)
    for multiple in suite.curve:
        if suite.curve_attack is not None and multiple not in (0.0, 1.0) and least <= multiple * threat.eps <= widest:
            yield _Job(suite.curve_attack.kind, suite.curve_attack, threat.at(multiple * threat.eps), multiple)


def _full_name(method: Attack) -> str:
    """Kind and whatever was set, to tell apart two of a kind: ``"pgd(steps=50, loss=margin)"``."""
    given = method.model_dump(mode="json", exclude_defaults=True)
    return f"{method.kind}({', '.join(f'{key}={value}' for key, value in given.items())})" if given else method.kind


def _summarise(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    suite: Suite,
    seed: int,
    plan: list[_Job],
    results: list[AttackResult],
    seconds: float,
) -> RobustnessReport:
    n = len(data)
    own = [(job, result) for job, result in zip(plan, results, strict=True) if job.multiple is None]
    correct = own[0][1].correct
    broken_by: list[str | None] = [None] * n
    errors = torch.zeros(n, dtype=torch.bool)
    rows = []
    for job, result in own:
        errors |= result.error
        for index in (result.success & correct).nonzero().flatten().tolist():
            broken_by[index] = broken_by[index] or job.name
        rows.append(
            AttackRow(
                name=job.name,
                attack=job.method.model_dump(mode="json"),
                robust_accuracy=Rate.of(int(result.robust.sum()), n),
                broken=int((result.success & correct).sum()),
                errors=int(result.error.sum()),
                forwards=result.forwards,
                backwards=result.backwards,
                rejected=result.rejected,
            )
        )
    outcomes = tuple(_outcome(bool(correct[i]), broken_by[i], bool(errors[i])) for i in range(n))
    worst = Rate.of(outcomes.count("robust"), n)
    clean = Rate.of(int(correct.sum()), n)
    points = {0.0: clean, threat.eps: worst}
    points |= {
        job.threat.eps: Rate.of(int(result.robust.sum()), n)
        for job, result in zip(plan, results, strict=True)
        if job.multiple is not None
    }
    warnings = [line for result in results for line in (*result.messages, *result.warnings)]
    faults = [_rejection(job, result.rejected) for job, result in zip(plan, results, strict=True) if result.rejected]
    return RobustnessReport(
        model_digest=model_digest(model),
        data=record(data),
        threat=threat,
        suite=suite.name,
        seed=seed,
        clean_accuracy=clean,
        robust_accuracy=worst,
        attacks=tuple(rows),
        curve=tuple(CurvePoint(eps=eps, accuracy=rate) for eps, rate in sorted(points.items())),
        outcomes=outcomes,
        broken_by=tuple(broken_by),
        warnings=tuple(dict.fromkeys(warnings)),
        errors=tuple(faults),
        environment=Environment.here(),
        timing={"total": seconds} | {job.name: result.seconds for job, result in own},
    )


def record(data: Dataset) -> DataRecord:
    """What a report says about a dataset."""
    return DataRecord(name=data.name, split=data.split, n=len(data), classes=data.classes, shape=data.shape, digest=data.digest)


def _rejection(job: _Job, count: int) -> str:
    return (
        f"{job.name} at eps {job.threat.eps:.4g}: the verifier rejected {count} of its candidates, which lay outside what the "
        "threat model allows; that is a fault of the attack, and says nothing about the model"
    )


def _outcome(correct: bool, broken_by: str | None, error: bool) -> Outcome:
    if not correct:
        return "misclassified"
    if broken_by is not None:
        return "broken"
    return "error" if error else "robust"
