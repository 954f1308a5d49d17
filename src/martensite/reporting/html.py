"""The pages of an evaluation and of a pipeline run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from martensite.evaluation.classes import ClassRow
from martensite.evaluation.examples import Pair
from martensite.evaluation.intervals import paired_difference
from martensite.evaluation.report import AttackRow, RobustnessReport, RunReport, TrainingRecord
from martensite.reporting import formats, words
from martensite.reporting.charts import Chart
from martensite.reporting.commands import evaluate_command
from martensite.reporting.curves import Line, accuracy_curve, certified_curve, small_curve
from martensite.reporting.gallery import gallery
from martensite.reporting.page import Tab, render_page
from martensite.reporting.traces import trace_charts

ENDS = 2  # points that every report has, clean and robust accuracy: alone they are no curve
CLASSES, WARNINGS = 40, 40  # that are shown; the report has all of them

OVERVIEW = Tab("overview", "Overview", ("threat", "curve", "norms"))
ATTACKS = Tab("attacks", "Attacks", ("attacks", "outcomes", "traces", "transfer", "seeds"))
SAMPLES = Tab("samples", "Samples", ("gallery", "classes", "metrics", "corruption"))
CERTIFIED = Tab("certificates", "Certificates", ("certified",))
TRUST = Tab("trust", "Trust", ("diagnostics", "warnings", "limits"))
PROVENANCE = Tab("provenance", "Provenance", ("reproduce", "cost", "provenance"))


@dataclass(frozen=True)
class Model:
    """One of the models that a page compares.

    Attributes:
        key: ``"baseline"`` or ``"hardened"``: its colour.
        label: What the page calls it.
        report: What was measured on it.
        training: How it came to be, if that is known.
    """

    key: str
    label: str
    report: RobustnessReport
    training: TrainingRecord | None = None


@dataclass(frozen=True)
class Difference:
    """Second model minus the first, on the same samples."""

    value: float
    low: float
    high: float


def render_run(report: RunReport, pairs: Sequence[Pair] = ()) -> str:
    """The page of a pipeline run.

    Args:
        report: The run.
        pairs: For the gallery; those that are no pictures are left out.

    Returns:
        A whole HTML document, below 2 MiB.
    """
    models = (
        Model("baseline", "Baseline", report.baseline, report.baseline_training),
        Model("hardened", "Hardened", report.hardened, report.hardened_training),
    )
    name = _file_name(report.name)
    return render_page(
        "run.html.j2",
        report,
        report.environment,
        (OVERVIEW, ATTACKS, SAMPLES, CERTIFIED, TRUST, PROVENANCE),
        **view(models) | {"gallery": gallery(pairs, report.threat.box), "transfer": report.transfer or report.hardened.transfer},
        run=report,
        certification=report.certification,
        certified=certified_curve(report.certification, "Hardened, certified"),
        yaml=formats.as_yaml(report.pipeline),
        yaml_name=f"{name}.yaml",
        command=f"martensite run {name}.yaml --out runs/{name}",
    )


def render_robustness(report: RobustnessReport, pairs: Sequence[Pair] = ()) -> str:
    """The page of one model's evaluation; arguments and result as for `render_run`."""
    return render_page(
        "robustness.html.j2",
        report,
        report.environment,
        (OVERVIEW, ATTACKS, SAMPLES, TRUST, PROVENANCE),
        **view((Model("hardened", "This model", report),)) | {"gallery": gallery(pairs, report.threat.box)},
        command=evaluate_command([report]),
    )


def view(models: tuple[Model, ...]) -> dict[str, Any]:
    """What the parts of a page show of models that were measured under one threat model."""
    last = models[-1].report
    return {
        "models": models,
        "measured": last,
        "threat": last.threat,
        "differences": _differences(models),
        "attacks": attack_table(models),
        "broken_by": _broken_by(models),
        "warnings": _warnings(models),
        "curve": _security_curve(models),
        "traces": trace_charts([(model.key, model.label, model.report.traces) for model in models]),
        "classes": _classes(models),
        "transfer": last.transfer,
        "surrogates": last.surrogates,
        "norms": _norm_curves(models),
        "gallery": None,
    }


def _security_curve(models: Sequence[Model]) -> Chart | None:
    lines = [Line(model.key, model.label, model.report.curve) for model in models if len(model.report.curve) > ENDS]
    if not lines:
        return None
    threat = models[-1].report.threat
    return accuracy_curve(
        lines,
        subject="Security curve: accuracy under attack as eps grows",
        x_name=f"eps ({words.norm_name(threat.norm)}, input units)",
        mark=(threat.eps, "threat model"),
    )


def _norm_curves(models: Sequence[Model]) -> list[Chart]:
    """A small security curve for each norm that was searched, with a line a model."""
    found: dict[str, list[Line]] = {}
    for model in models:
        for row in model.report.norms:
            found.setdefault(row.norm, []).append(Line(model.key, model.label, row.curve))
    return [small_curve(lines, words.norm_name(norm)) for norm, lines in found.items()]


def attack_table(models: Sequence[Model]) -> list[tuple[AttackRow, list[AttackRow | None]]]:
    """One row an attack, one cell a model; None where a model's report lacks that attack."""
    rows: dict[str, AttackRow] = {}
    for model in models:
        rows |= {row.name: row for row in model.report.attacks if row.name not in rows}
    cells = [{row.name: row for row in model.report.attacks} for model in models]
    return [(row, [found.get(name) for found in cells]) for name, row in rows.items()]


def _broken_by(models: Sequence[Model]) -> list[tuple[str, list[int]]]:
    """For each attack how many samples it was the first to break, by model."""
    names = dict.fromkeys(name for model in models for name in model.report.broken_by if name is not None)
    return [(name, [model.report.broken_by.count(name) for model in models]) for name in names]


def _classes(models: Sequence[Model]) -> list[tuple[ClassRow, list[ClassRow | None]]]:
    """The weakest classes first, by the last model; one cell a model."""
    found = [{row.name: row for row in model.report.classes} for model in models]
    ranked = sorted(models[-1].report.classes, key=lambda row: row.robust_accuracy.value)
    return [(row, [rows.get(row.name) for rows in found]) for row in ranked[:CLASSES]]


def _warnings(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Each warning once, with the models that it is about."""
    about: dict[str, list[str]] = {}
    for model in models:
        for warning in (*(f"Error: {error}" for error in model.report.errors), *model.report.warnings):
            about.setdefault(warning, []).append(model.label)
    shown = [(warning, ", ".join(labels)) for warning, labels in list(about.items())[:WARNINGS]]
    return shown + [(f"{len(about) - WARNINGS} more are in report.json.", "")] * (len(about) > WARNINGS)


def _differences(models: Sequence[Model]) -> dict[str, Difference]:
    """What hardening changed, sample by sample; empty unless both models saw the same samples without errors."""
    if len(models) != 2 or models[0].report.data.digest != models[1].report.data.digest:
        return {}
    first, second = models[0].report.outcomes, models[1].report.outcomes
    if not first or len(first) != len(second) or "error" in first or "error" in second:
        return {}
    return {
        "clean": _paired([outcome != "misclassified" for outcome in second], [outcome != "misclassified" for outcome in first]),
        "robust": _paired([outcome == "robust" for outcome in second], [outcome == "robust" for outcome in first]),
    }


def _paired(new: list[bool], old: list[bool]) -> Difference:
    pairs = list(zip(new, old, strict=True))
    both, gained, lost = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    low, high = paired_difference(both, gained, lost, len(pairs) - both - gained - lost)
    return Difference((gained - lost) / len(pairs), low, high)


def _file_name(name: str) -> str:
    """A name that any shell and file system takes as it is."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "pipeline"
