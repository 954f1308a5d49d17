"""martensite evaluate: a suite of attacks, with intervals, as a report."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "evaluate"
EXAMPLES = """Examples:\n
  martensite evaluate models/hardened --data digits\n
  martensite evaluate models/hardened --data mnist:data/mnist --norm linf --eps 8/255 --suite standard --out results/"""


def command(
    model: options.Model,
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    suite: Annotated[str, typer.Option(metavar="SUITE", help="quick, standard, or a YAML file.")] = "standard",
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Folder for report.json and report.html.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> int:
    """Measure a model's robustness with a suite of attacks."""
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, robustness_table, show_errors, show_warnings
    from martensite.cli.progress import Display, plain, show
    from martensite.core.files import write_text
    from martensite.engine import LocalEngine
    from martensite.evaluation import evaluate, load_suite
    from martensite.reporting import render_robustness

    chosen = load_suite(suite)
    inputs = options.dataset(data, split, label, scale, samples)
    source = load_model(model, weights, inputs)
    threat = options.threat_model(norm, eps, constraints, source.threat, source.model.box)
    with Display(quiet=json) as display:
        report = evaluate(source.model, inputs, threat, chosen, seed=seed, engine=LocalEngine(), listener=display)
    if out is not None:
        write_text(out / "report.html", render_robustness(report))
        report.save(out / "report.json")
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        show(robustness_table((model, report)))
        show_errors(report.errors)
        show_warnings(report.warnings)
        if out is not None:
            show(f"Report: {plain(out / 'report.html')}")
    return 0
