"""Reports as a run would leave them, built by hand."""

import random
from typing import Any

import torch
from sklearn.datasets import load_digits

from martensite.evaluation.calibration import Calibration
from martensite.evaluation.canary import Canary
from martensite.evaluation.classes import by_class
from martensite.evaluation.clever import CleverSummary
from martensite.evaluation.compare import ComparisonReport, compare
from martensite.evaluation.corruption import CorruptionError, CorruptionRow
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.distances import DistanceSummary, NormRow
from martensite.evaluation.report import (
    AttackRow,
    CertificationReport,
    Check,
    CurvePoint,
    DataRecord,
    Environment,
    Rate,
    RobustnessReport,
    RunReport,
    TrainingRecord,
    Verdict,
)
from martensite.evaluation.surrogate import SurrogateRecord
from martensite.evaluation.traces import LossTrace
from martensite.evaluation.transferability import TransferMatrix
from martensite.evaluation.union import UnionReport
from martensite.evaluation.union import union as join
from martensite.evaluation.variation import Variation
from martensite.reporting import Pair
from martensite.threat import ThreatModel

N, EPS = 360, 0.15
HERE = Environment(martensite="0.1.0", torch="2.13.0+cpu", numpy="2.4.6", python="3.11.9", platform="Linux x86_64")
THREAT = ThreatModel(norm="linf", eps=EPS)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def data(split: str, n: int, **changes: Any) -> DataRecord:
    values: dict[str, Any] = {"name": "digits", "classes": 10, "shape": (1, 8, 8)} | changes
    return DataRecord(split=split, n=n, digest=digest({"train": "a", "validation": "b", "test": "c"}[split]), **values)


def robustness(clean: int, robust: int, left_over: tuple[int, ...], letter: str, **changes: Any) -> RobustnessReport:
    """The first ``robust`` samples withstand, the last ``N - clean`` were wrong before."""
    fgsm = min(clean, robust + 16)
    outcomes = ("robust",) * robust + ("broken",) * (clean - robust) + ("misclassified",) * (N - clean)
    broken_by = (None,) * robust + ("pgd #1",) * (fgsm - robust) + ("fgsm",) * (clean - fgsm) + (None,) * (N - clean)
    rows = (
        ("fgsm", {"kind": "fgsm", "loss": "ce"}, fgsm, 720, 360),
        ("pgd #1", {"kind": "pgd", "steps": 50, "step_size": None, "restarts": 2, "loss": "ce"}, robust, 33810, 33120),
        ("pgd #2", {"kind": "pgd", "steps": 50, "step_size": None, "restarts": 1, "loss": "margin"}, robust + 1, 17400, 17040),
    )
    levels = [EPS * multiple for multiple in (0, 0.25, 0.5, 0.75, 1, 1.5, 2)]
    values: dict[str, Any] = {
        "model_digest": digest(letter),
        "data": data("test", N),
        "threat": THREAT,
        "suite": "standard",
        "seed": 0,
        "clean_accuracy": Rate.of(clean, N),
        "robust_accuracy": Rate.of(robust, N),
        "attacks": tuple(
            AttackRow(
                name=name,
                attack=attack,
                robust_accuracy=Rate.of(left, N),
                broken=clean - left,
                errors=0,
                forwards=forwards,
                backwards=backwards,
            )
            for name, attack, left, forwards, backwards in rows
        ),
        "curve": tuple(CurvePoint(eps=eps, accuracy=Rate.of(left, N)) for eps, left in zip(levels, left_over, strict=True)),
        "outcomes": outcomes,
        "broken_by": broken_by,
        "environment": HERE,
        "timing": {"total": 6.13, "fgsm": 0.04, "pgd #1": 3.61, "pgd #2": 2.48},
    }
    return RobustnessReport(**values | changes)


def baseline(**changes: Any) -> RobustnessReport:
    return robustness(355, 3, (355, 301, 172, 49, 3, 0, 0), "d", **changes)


def hardened(**changes: Any) -> RobustnessReport:
    return robustness(352, 302, (352, 345, 336, 321, 302, 241, 133), "e", **changes)


def extras(report: RobustnessReport) -> dict[str, Any]:
    """Everything that a report may hold beside its attacks."""
    draw, n = random.Random(2), report.data.n
    labels = [draw.randrange(10) for _ in range(n)]
    right = [outcome != "misclassified" for outcome in report.outcomes]
    held = [
        outcome == "robust" and (label != 8 or draw.random() < 0.5)
        for outcome, label in zip(report.outcomes, labels, strict=True)
    ]
    steps = tuple(range(0, 100, 2))
    minimal = DistanceSummary(n=n, found=n, median=0.21, mean=0.24, empirical_robustness=0.052)
    rates = tuple(Rate.of(n // 20 * severity, n) for severity in (1, 2, 3, 4, 5))
    return {
        "access": "gradients",
        "left_out": ("jsma does not support linf",),
        "canaries": tuple(Canary(name=name, expected=10, found=10, n=20, passed=True) for name in ("linear", "masked")),
        "classes": by_class(labels, [str(digit) for digit in range(10)], right, held),
        "minimal": minimal,
        "calibration": Calibration(clean=0.021, attacked=0.274),
        "traces": tuple(
            LossTrace(
                attack=attack,
                search="pgd",
                loss=loss,
                samples=n,
                steps=steps,
                mean=tuple(round(top * (1 - 0.9 ** (step % 50)), 5) for step in steps),
                left=tuple(round(1 - 0.15 * step / 98, 4) for step in steps),
            )
            for attack, loss, top in (("pgd #1", "ce", 2.3), ("pgd #2", "margin", 1.1))
        ),
        "surrogates": (SurrogateRecord(name="distilled", digest=digest("f"), agreement=Rate.of(n - 9, n), queries=8 * n),),
        "transfer": transfer("this model", "distilled"),
        "corruption": CorruptionError(
            severities=(1, 2, 3, 4, 5),
            rows=tuple(CorruptionRow(kind=kind, errors=rates, mean=0.15) for kind in ("gaussian_noise", "fog", "jpeg")),
            mean=0.15,
            rise=0.13,
        ),
        "clever": CleverSummary(radius=EPS, scores=(0.05, 0.1), mean=0.075, median=0.075),
        "norms": tuple(
            NormRow(norm=norm, attack={"kind": "fmn"}, minimal=minimal, curve=report.curve) for norm in ("l2", "l1", "l0")
        ),
        "variation": Variation(seeds=(0, 1), values=(0.84, 0.83), mean=0.835, deviation=0.007, worst=Rate.of(int(0.83 * n), n)),
        "diagnostics": (
            Diagnostic(
                name="more_steps_gain", severity="warning", evidence="a longer run breaks 3 of 302", remedy="give more steps"
            ),
        ),
    }


def transfer(*names: str) -> TransferMatrix:
    """Each model breaks itself and hardly the others; the last one can't be searched."""
    rows = [[Rate.of(50 if here == there else 7, N) for there in names] for here in names[:-1]]
    return TransferMatrix(names=names, attack={"kind": "pgd", "steps": 20}, rates=(*map(tuple, rows), (None,) * len(names)))


def rich(**changes: Any) -> RobustnessReport:
    """A report that holds whatever a report may hold."""
    plain = hardened()
    return hardened(**extras(plain) | changes)


def rich_run(**changes: Any) -> RunReport:
    """A run of such reports."""
    before = baseline()
    both = {"baseline": baseline(**extras(before)), "hardened": rich(), "transfer": transfer("baseline", "hardened", "third")}
    return run(**both | changes)


def union(**changes: Any) -> UnionReport:
    """Linf, L2 and L1."""
    others = (ThreatModel(norm="l2", eps=1.0), ThreatModel(norm="l1", eps=4.0))
    return join([rich(**changes), *(hardened(threat=threat, **changes) for threat in others)])


def comparison(**changes: Any) -> ComparisonReport:
    """Three models, one of which another one beats in everything."""
    middle = robustness(340, 200, (340, 330, 300, 250, 200, 100, 40), "f")
    named = {"baseline": baseline(), "hardened": rich(**changes), "half-hardened": middle}
    return compare(named, training={"baseline": 15.0, "hardened": 90.5, "half-hardened": 120.0}, transfer=transfer(*named))


def certification(**changes: Any) -> CertificationReport:
    draw = random.Random(1)
    radius = tuple(sorted((min(0.369, max(0.0, draw.gauss(0.27, 0.1))) for _ in range(100)), reverse=True))
    grid = [0.369 * step / 12 for step in range(13)]
    values: dict[str, Any] = {
        "model_digest": digest("e"),
        "data": data("test", 100),
        "method": {"kind": "smoothing", "sigma": 0.15, "n": 1000, "selection": 100, "alpha": 0.001},
        "norm": "l2",
        "seed": 0,
        "accuracy": Rate.of(sum(r > 0 for r in radius), 100),
        "certified": tuple(
            CurvePoint(eps=level, accuracy=Rate.of(sum(r > 0 and r >= level for r in radius), 100)) for level in grid
        ),
        "abstained": 1,
        "samples": 110_000,
        "radius": radius,
        "environment": HERE,
        "timing": {"total": 9.2},
    }
    return CertificationReport(**values | changes)


def no_certification() -> CertificationReport:
    """Every sample abstained."""
    nothing = (CurvePoint(eps=0.0, accuracy=Rate.of(0, 100)),)
    return certification(accuracy=Rate.of(0, 100), certified=nothing, abstained=100, radius=(0.0,) * 100)


def verdict(word: str = "PASS") -> Verdict:
    reason = "robust accuracy (linf eps 0.15 in [0, 1]) is 83.9% [79.7%, 87.5%] on 360 samples"
    return Verdict(
        verdict=word,
        checks=(
            Check(
                name="min_clean_accuracy",
                verdict="PASS",
                reason="clean accuracy is 97.8% [95.7%, 99.0%] on 360 samples: the whole interval clears 93.0%",
            ),
            Check(name="min_robust_accuracy", verdict=word, reason=f"{reason}: judged against 60.0%"),
            Check(
                name="max_clean_drop",
                verdict="PASS",
                reason="clean accuracy dropped by 0.8% [-1.0%, 2.9%]; at most 5.0% is allowed",
            ),
            Check(
                name="min_robust_gain",
                verdict="PASS",
                reason="robust accuracy gained 83.1% [78.6%, 86.6%]; at least 40.0% is needed",
            ),
        ),
    )


def training(objective: dict[str, Any], robust: float | None) -> TrainingRecord:
    settings = {"epochs": 15, "batch_size": 64, "optimiser": "adam", "lr": 2e-3, "weight_decay": 0.0}
    return TrainingRecord(
        objective=objective,
        settings=settings,
        epochs=15,
        best_epoch=14,
        clean_validation=0.986,
        robust_validation=robust,
        forwards=198_450,
        backwards=181_620,
    )


def run(**changes: Any) -> RunReport:
    pgd_at = {"kind": "pgd_at", "mix": 0.5, "attack": {"kind": "pgd", "steps": 10, "step_size": None, "restarts": 1}}
    values: dict[str, Any] = {
        "name": "digits",
        "seed": 0,
        "pipeline": {
            "name": "digits",
            "seed": 0,
            "data": {"source": "digits"},
            "threat": {"norm": "linf", "eps": EPS, "box": [0, 1]},
            "model": {"kind": "small_cnn", "width": 32},
            "harden": {"objective": pgd_at},
            "suite": "standard",
        },
        "threat": THREAT,
        "data": (data("train", 1077), data("validation", 360), data("test", N)),
        "baseline_training": training({"kind": "standard"}, 0.011),
        "hardened_training": training(pgd_at, 0.853),
        "baseline": baseline(),
        "hardened": hardened(),
        "certification": certification(),
        "verdict": verdict(),
        "bundle": digest("e"),
        "environment": HERE,
        "timing": {"01-data": 0.05, "02-train": 5.4, "03-attack": 2.2, "04-harden": 38.9, "05-evaluate": 12.3, "06-certify": 9.2},
    }
    return RunReport(**values | changes)


def pairs(n: int = 8, **changes: Any) -> list[Pair]:
    """Real digits with a change of eps at random signs."""
    digits = load_digits()
    rng = torch.Generator().manual_seed(0)
    made = []
    for index in range(n):
        clean = torch.tensor(digits.images[index] / 16, dtype=torch.float32)[None]
        change = EPS * (torch.randint(0, 2, clean.shape, generator=rng) * 2 - 1)
        label = int(digits.target[index])
        values: dict[str, Any] = {
            "index": index * 31,
            "clean": clean,
            "adversarial": (clean + change).clamp(0, 1),
            "label": str(label),
            "clean_prediction": str(label),
            "clean_confidence": 0.9993,
            "adversarial_prediction": str((label + 5) % 10),
            "adversarial_confidence": 0.871,
            "attack": "pgd",
            "model": "baseline",
        }
        made.append(Pair(**values | changes))
    return made
