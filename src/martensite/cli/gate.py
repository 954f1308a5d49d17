"""martensite gate: PASS, FAIL or INCONCLUSIVE."""

from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options

NAME = "gate"
EXAMPLES = """Examples:\n
  martensite gate results/report.json --min-clean-accuracy 0.9 --min-robust-accuracy 0.5\n
  martensite gate results/report.json --policy thresholds.yaml --baseline baseline/report.json\n
  martensite gate runs/digits --min-robust-accuracy 0.5"""


def _fraction(what: str) -> Any:
    return typer.Option(metavar="FRACTION", help=f"{what}, in [0, 1].", show_default=False)


def command(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="report.json of evaluate or run, or the run directory.")],
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Thresholds as YAML, instead of options.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT", help="Report of the model before hardening; default: the baseline of a run.", show_default=False
        ),
    ] = None,
    min_clean_accuracy: Annotated[float | None, _fraction("Least accuracy without an attack")] = None,
    min_robust_accuracy: Annotated[float | None, _fraction("Least accuracy under the worst attack for each sample")] = None,
    max_clean_drop: Annotated[float | None, _fraction("Most clean accuracy lost against the baseline")] = None,
    min_robust_gain: Annotated[float | None, _fraction("Least robust accuracy gained over the baseline")] = None,
    max_robust_drop: Annotated[float | None, _fraction("Most robust accuracy lost against the baseline")] = None,
    json: options.Json = False,
) -> int:
    """Judge a report by thresholds: exit code 0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE (the interval straddles one)."""
    from martensite.cli.output import print_json, show_verdict
    from martensite.cli.report_source import load_report
    from martensite.core.errors import ConfigError
    from martensite.evaluation import RobustnessReport, RunReport
    from martensite.gates import Thresholds

    given = {
        "min_clean_accuracy": min_clean_accuracy,
        "min_robust_accuracy": min_robust_accuracy,
        "max_clean_drop": max_clean_drop,
        "min_robust_gain": min_robust_gain,
        "max_robust_drop": max_robust_drop,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if policy is not None and given:
        raise ConfigError("both --policy and thresholds were given", "one source decides", "leave one of them out")
    if policy is None and not given:
        raise ConfigError(
            "no threshold was given", "a gate needs at least one", "give --min-robust-accuracy 0.5, or --policy FILE"
        )
    thresholds = Thresholds.from_yaml(policy) if policy is not None else Thresholds.parse(given)
    judged, before = load_report(report), None if baseline is None else load_report(baseline)
    if isinstance(judged, RunReport):
        before = before or judged.baseline
        judged = judged.hardened
    if isinstance(before, RunReport):
        before = before.baseline
    verdict = thresholds.judge(judged, before if isinstance(before, RobustnessReport) else None)
    if json:
        print_json(verdict.model_dump(mode="json"))
    else:
        show_verdict(verdict)
    return verdict.exit_code
