"""martensite evaluate: a suite of attacks, with intervals, as a report."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.core.errors import ConfigError

NAME = "evaluate"
EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
EXAMPLES = """Examples:\n
  martensite evaluate models/hardened --data digits\n
  martensite evaluate models/hardened --data mnist:data/mnist --norm linf --eps 8/255 --suite standard --out results/\n
  martensite evaluate models/hardened --data digits --threat linf:0.1 --threat l2:0.5 --suite adaptive\n
  martensite evaluate model.onnx --data images.npz --eps 8/255 --suite black-box\n
  martensite evaluate http://localhost:8000/v2/models/digits --data digits --eps 0.1 --suite quick"""


def command(
    model: options.Model,
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    threats: Annotated[
        list[str] | None,
        typer.Option(
            "--threat",
            metavar="NORM:EPS",
            help="Instead of --norm and --eps: linf:8/255; may repeat, and the union is reported as well.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(metavar="SUITE", help="quick, standard, adaptive, full, black-box, tabular, or a YAML file."),
    ] = "standard",
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Folder for report.json and report.html.", show_default=False),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder for what is finished: a run that was cut off goes on.",
            show_default=False,
        ),
    ] = None,
    adversarials: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Keep the nearest adversarials there (safetensors).", show_default=False
        ),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(metavar="W", help="Use as many samples as intervals of +-W need.", show_default=False),
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Stop when it is sure whether robust accuracy is at least this: exit code 0 or 1; 3 if samples run out.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Measure a model's robustness with a suite of attacks."""
    from martensite.cli.output import print_json, robustness_table, show_diagnostics, show_errors, show_union, show_warnings
    from martensite.cli.progress import Display, plain, show
    from martensite.cli.query_source import load_any
    from martensite.core.files import write_text
    from martensite.engine import LocalEngine
    from martensite.evaluation import RobustnessReport, UnionReport, evaluate, load_suite, samples_for, union
    from martensite.reporting import render_robustness

    chosen = load_suite(suite)
    if half_width is not None and samples is not None:
        raise ConfigError("--half-width was given with --samples", "one of them chooses n", "leave one out")
    wanted = samples if half_width is None else samples_for(half_width)
    inputs = options.dataset(data, split, label, scale, wanted)
    measured, bundled = load_any(model, weights, inputs, trust_code)
    stated = options.threat_models(threats or [], norm, eps, constraints, bundled, measured.box)
    if adversarials is not None and len(stated) > 1:
        raise ConfigError(
            f"--adversarials was given with {len(stated)} threat models", "one file holds one's", "give one --threat"
        )
    with Display(quiet=json) as display:
        reports = [
            evaluate(
                measured,
                inputs,
                threat,
                chosen,
                seed=seed,
                engine=LocalEngine(),
                store=store,
                adversarials=adversarials,
                at_least=at_least,
                listener=display,
            )
            for threat in stated
        ]
    whole: RobustnessReport | UnionReport = reports[0] if len(reports) == 1 else union(reports)
    if out is not None:
        for report, folder in zip(reports, _folders(out, len(reports)), strict=True):
            write_text(folder / "report.html", render_robustness(report))
            report.save(folder / "report.json")
        whole.save(out / "report.json")
    code = max(EXIT_CODES[report.decision.verdict] if report.decision else 0 for report in reports)
    if json:
        print_json(whole.model_dump(mode="json"))
        return code
    if half_width is not None and wanted is not None and len(inputs) < wanted:
        show_warnings((f"intervals of +-{half_width:g} need {wanted:,} samples, and there are {len(inputs):,}",))
    for report in reports:
        show(robustness_table((model, report)))
        show_errors(report.errors)
        show_warnings(report.warnings)
        show_diagnostics(report)
        if report.decision:
            show(f"{report.decision.verdict}: at least {report.decision.at_least:.1%}, after {report.decision.samples:,} samples")
        if report.left_out:
            show(plain(f"Not run: {'; '.join(report.left_out)}."))
    if isinstance(whole, UnionReport):
        show_union(whole)
    if out is not None:
        for folder in _folders(out, len(reports)):
            show(f"Report: {plain(folder / 'report.html')}")
    return code


def _folders(out: Path, n: int) -> list[Path]:
    """Where the reports of n threat models go."""
    return [out] if n == 1 else [out / f"threat-{number}" for number in range(1, n + 1)]
