"""The page: one HTML file that holds everything it shows and asks nothing of the network.

Names of classes, files and models come from outside, so the templates escape everything; a policy inside the page forbids
scripts and requests even if that should fail.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from martensite.evaluation.intervals import paired_difference
from martensite.evaluation.report import AttackRow, CertificationReport, Report, RobustnessReport, RunReport, TrainingRecord
from martensite.reporting import formats, words
from martensite.reporting.charts import Chart, Line, accuracy_curve
from martensite.reporting.gallery import Pair, gallery

EMBED_LIMIT = 512 * 1024  # characters of embedded JSON: the page stays under 1 MiB


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
        A whole HTML document, below 1 MiB.
    """
    models = (
        Model("baseline", "Baseline", report.baseline, report.baseline_training),
        Model("hardened", "Hardened", report.hardened, report.hardened_training),
    )
    out = f"runs/{_file_name(report.name)}"
    return _render(
        "run.html.j2",
        report,
        models,
        pairs,
        run=report,
        certification=report.certification,
        certified=certified_chart(report.certification, "Hardened, certified"),
        yaml=formats.as_yaml(report.pipeline),
        yaml_name=f"{_file_name(report.name)}.yaml",
        command=f"martensite run {_file_name(report.name)}.yaml --out {out}",
    )


def render_robustness(report: RobustnessReport, pairs: Sequence[Pair] = ()) -> str:
    """The page of one model's evaluation; arguments and result as for `render_run`."""
    threat = report.threat
    command = (
        f"martensite evaluate MODEL --data {shlex.quote(report.data.name)} --norm {threat.norm} --eps {threat.eps!r} "
        f"{'' if threat.constraints is None else '--constraints FILE '}--suite {shlex.quote(report.suite)} --seed {report.seed}"
    )
    return _render("robustness.html.j2", report, (Model("hardened", "This model", report),), pairs, command=command)


def _render(
    template: str, report: RunReport | RobustnessReport, models: tuple[Model, ...], pairs: Sequence[Pair], **more: Any
) -> str:
    last = models[-1].report
    return (
        environment()
        .get_template(template)
        .render(
            css=Markup(files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")),
            embedded=embedded(report),
            threat=report.threat,
            environment=report.environment,
            models=models,
            measured=last,
            differences=_differences(models),
            attacks=_attack_table(models),
            broken_by=_broken_by(models),
            warnings=_warnings(models),
            curve=_security_curve(models),
            gallery=gallery(pairs, report.threat.box),
            **more,
        )
    )


def environment() -> Environment:
    """Jinja with this package's templates, filters and words."""
    found = Environment(
        loader=PackageLoader("martensite.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (
        formats.percent,
        formats.interval,
        formats.points,
        formats.number,
        formats.count,
        formats.cost,
        formats.seconds,
        formats.settings,
        formats.kind,
        words.norm_name,
        words.eps_text,
        words.threat_sentence,
        words.robust_sentence,
        words.verdict_sentence,
        words.certified_sentence,
        words.check_name,
        words.sentence,
        words.method_name,
        formats.stage_name,
    )
    found.filters |= {function.__name__: function for function in shown}
    found.globals |= {"limits": words.limits, "certificate_limits": words.certificate_limits}
    return found


def embedded(report: Report) -> Markup | None:
    """The report's JSON, safe inside a script element; None if the page would grow too large."""
    text = report.model_dump_json()
    # Inside JSON these characters occur in strings only, where \u escapes mean the same.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text) if len(text) <= EMBED_LIMIT else None


def _security_curve(models: Sequence[Model]) -> Chart | None:
    lines = [Line(model.key, model.label, model.report.curve) for model in models if model.report.curve]
    if not lines:
        return None
    threat = models[-1].report.threat
    return accuracy_curve(
        lines,
        subject="Security curve: accuracy under attack as eps grows",
        x_name=f"eps ({words.norm_name(threat.norm)}, input units)",
        mark=(threat.eps, "threat model"),
    )


def certified_chart(certification: CertificationReport, label: str) -> Chart | None:
    """The certified-accuracy curve; None where nothing was certified: there is nothing to draw."""
    if not any(point.eps > 0 for point in certification.certified):
        return None
    return accuracy_curve(
        [Line("hardened", label, certification.certified)],
        subject="Certified accuracy as the radius grows",
        x_name=f"radius ({words.norm_name(certification.norm)}, {words.radius_unit(certification.norm)})",
        steps=True,
    )


def _attack_table(models: Sequence[Model]) -> list[tuple[AttackRow, list[AttackRow | None]]]:
    """One row an attack, one cell a model; None where a model's report lacks that attack."""
    rows: dict[str, AttackRow] = {}
    for model in models:
        rows |= {row.name: row for row in model.report.attacks if row.name not in rows}
    cells = [{row.name: row for row in model.report.attacks} for model in models]
    return [(row, [found.get(name) for found in cells]) for name, row in rows.items()]


def _broken_by(models: Sequence[Model]) -> list[tuple[str, list[int]]]:
    """For each attack how many samples it was the first to break, by model."""
    names = dict.fromkeys(row.name for model in models for row in model.report.attacks)
    return [(name, [model.report.broken_by.count(name) for model in models]) for name in names]


def _warnings(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Each warning once, with the models that it is about."""
    about: dict[str, list[str]] = {}
    for model in models:
        for warning in (*(f"Error: {error}" for error in model.report.errors), *model.report.warnings):
            about.setdefault(warning, []).append(model.label)
    return [(warning, ", ".join(labels)) for warning, labels in about.items()]


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
