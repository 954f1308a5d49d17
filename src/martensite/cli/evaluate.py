"""martensite evaluate: a suite of attacks, with intervals, as a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options
from martensite.core.config import nearest
from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.evaluation import RobustnessReport, UnionReport

NAME = "evaluate"
EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
LEFT_OUT = ("out", "store", "adversarials", "markdown", "junit", "json")  # they say where results go, not what they are
INTERVALS = ("clopper-pearson", "wilson")
EXAMPLES = """Examples:\n
  martensite evaluate models/hardened --data digits\n
  martensite evaluate models/hardened --data mnist:data/mnist --norm linf --eps 8/255 --suite standard --out results/\n
  martensite evaluate models/hardened --data digits --threat linf:0.1 --threat l2:0.5 --suite adaptive\n
  martensite evaluate models/defended --data digits --eps 0.1\n
  martensite evaluate model.onnx --data images.npz --eps 8/255 --suite black-box\n
  martensite evaluate model.onnx --data images.npz --eps 8/255 --suite black-box --surrogate distilled\n
  martensite evaluate http://localhost:8000/v2/models/digits --data digits --eps 0.1 --suite quick"""


def command(
    context: typer.Context,
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
    store: options.Store = None,
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
            help="Stop when it is sure whether robust accuracy is at least this, under all threat models: exit code 0 or 1; 3 if "
            "samples run out.",
            show_default=False,
        ),
    ] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Also attack by transfer from this model (a bundle or factory), or from one that learns the model's answers: "
            "distilled; may repeat.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Run N seeds, --seed and up, and report the variation.")] = 1,
    certified: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            dir_okay=False,
            help="report.json of 'certify' on the same samples: an adversarial inside a certified radius is a contradiction.",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        str, typer.Option(metavar="METHOD", help="Of every rate: clopper-pearson (exact) or wilson.")
    ] = "clopper-pearson",
    endpoint: options.Endpoint = None,
    naive: Annotated[
        bool,
        typer.Option("--naive", help="Attack a defended model only as who doesn't know its defence: such a report is invalid."),
    ] = False,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Put statistics of the data into the bundle, as 'martensite reference' does."),
    ] = False,
    markdown: options.Markdown = None,
    junit: options.Junit = None,
    json: options.Json = False,
) -> int:
    """Measure a model's robustness with a suite of attacks."""
    from martensite.cli.defences import show_naive_and_honest
    from martensite.cli.output import print_json, robustness_table, show_beside, show_trust, show_union
    from martensite.cli.progress import Display, plain, show
    from martensite.cli.query_source import load_any, load_surrogates
    from martensite.cli.reference import check_unsigned, keep
    from martensite.cli.report_source import certified_radii
    from martensite.cli.typed import as_typed
    from martensite.core.files import write_text
    from martensite.engine import LocalEngine
    from martensite.evaluation import (
        Distillation,
        RobustnessReport,
        UnionReport,
        evaluate,
        load_suite,
        restated,
        samples_for,
        shortfall,
        union,
        until_sure,
        varied,
    )
    from martensite.models import Classifier
    from martensite.pipeline.render import EXAMPLES
    from martensite.reporting import junit_xml, markdown_summary

    chosen = load_suite(suite)
    if reference:
        check_unsigned(model)
    if half_width is not None and samples is not None:
        raise ConfigError("--half-width was given with --samples", "one of them chooses n", "leave one out")
    if seeds > 1 and at_least is not None:
        raise ConfigError("--seeds was given with --at-least", "a run that stops early has one seed", "leave one out")
    if interval not in INTERVALS:
        raise ConfigError(f"--interval {interval}", remedy=nearest(interval, INTERVALS))
    wanted = samples if half_width is None else samples_for(half_width)
    inputs = options.dataset(data, split, label, scale, wanted)
    measured, bundled = load_any(model, weights, inputs, trust_code, endpoint or [])
    sources, distilled = load_surrogates(surrogate or [], inputs, trust_code)
    if distilled and chosen.surrogate is None:
        chosen = chosen.model_copy(update={"surrogate": Distillation()})
    stated = options.threat_models(threats or [], norm, eps, constraints, bundled, measured.box)
    for option, value in (("--adversarials", adversarials), ("--certified", certified)):
        if value is not None and len(stated) > 1:
            raise ConfigError(f"{option} was given with {len(stated)} threat models", "one file holds one's", "give one --threat")
    radii = None if certified is None else certified_radii(certified, inputs, stated[0])
    again = as_typed(context, LEFT_OUT)

    def measure(chosen_samples: "Dataset") -> list[RobustnessReport]:
        reports = []
        for threat, folder in zip(stated, _folders(out, len(stated)), strict=True):
            runs = [
                evaluate(
                    measured,
                    chosen_samples,
                    threat,
                    chosen,
                    seed=number,
                    engine=LocalEngine(),
                    store=store,
                    adversarials=adversarials if number == seed else None,
                    examples=None if folder is None or number > seed else folder / EXAMPLES,
                    certified=radii,
                    surrogates=sources,
                    at_least=at_least if len(stated) == 1 else None,  # of several it is about the union
                    adaptive=not naive,
                    listener=display,
                )
                for number in range(seed, seed + seeds)
            ]
            reports.append((varied(runs) if seeds > 1 else runs[0]).model_copy(update={"command": again}))
        return reports

    whole: RobustnessReport | UnionReport
    with Display(quiet=json) as display:
        if len(stated) == 1:
            whole = measure(inputs)[0]
        else:
            whole = union(measure(inputs)) if at_least is None else until_sure(measure, inputs, at_least, seed)
    whole = restated(whole, "wilson") if interval == "wilson" else whole
    reports = list(whole.reports) if isinstance(whole, UnionReport) else [whole]
    if half_width is not None and wanted is not None and len(inputs) < wanted:
        missed = [shortfall(half_width, len(inputs), one.robust_accuracy) for one in reports]
        reports = [one.model_copy(update={"warnings": (*one.warnings, text)}) for one, text in zip(reports, missed, strict=True)]
        whole = whole.model_copy(update={"reports": tuple(reports)}) if isinstance(whole, UnionReport) else reports[0]
    if markdown is not None:
        write_text(markdown, markdown_summary(whole))
    if junit is not None:
        write_text(junit, junit_xml(whole))
    pages = [] if out is None else _leave(out, whole, reports)
    if reference and isinstance(measured, Classifier):  # as every bundle gives one
        keep(Path(model), measured, inputs, seed)
    code = 0 if whole.decided is None else EXIT_CODES[whole.decided.verdict]
    if json:
        print_json(whole.model_dump(mode="json"))
        return code
    for report in reports:
        show(robustness_table((model, report)))
        show_naive_and_honest(report)
        show_beside(report)
        show_trust(report)
        if report.left_out:
            show(plain(f"Not run: {'; '.join(report.left_out)}."))
    if isinstance(whole, UnionReport):
        show_union(whole)
    for page in pages:
        show(f"Report: {plain(page)}")
    return code


def _folders(out: Path | None, n: int) -> list[Path | None]:
    """Where the reports of n threat models go."""
    from martensite.pipeline.render import part

    return [out] * n if out is None or n == 1 else [part(out, number) for number in range(1, n + 1)]


def _leave(out: Path, whole: "RobustnessReport | UnionReport", reports: "list[RobustnessReport]") -> list[Path]:
    """report.json and report.html of the whole, and of each threat model where there are several; the pages."""
    from martensite.core.files import write_text
    from martensite.pipeline.render import render

    parts = zip(reports, _folders(out, len(reports)), strict=True) if len(reports) > 1 else ()
    pages = []
    for report, folder in (*parts, (whole, out)):
        if folder is not None:
            write_text(folder / "report.html", render(report, folder))
            report.save(folder / "report.json")
            pages.append(folder / "report.html")
    return pages
