"""martensite certify: which inputs no attack can change."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "certify"
EXAMPLES = """Examples:\n
  martensite certify models/hardened --data digits --sigma 0.25 --samples 100\n
  martensite certify models/hardened --data digits --sigma 0.25 --n 100000 --out certificates.json"""


def command(
    model: options.Model,
    data: options.Data = "digits",
    method: Annotated[str, typer.Option(metavar="NAME", help="How to certify.")] = "smoothing",
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, in input units.")] = 0.25,
    n: Annotated[int, typer.Option(help="Noisy copies a sample.")] = 10_000,
    alpha: Annotated[float, typer.Option(help="Chance that a certificate is wrong.")] = 0.001,
    radius: Annotated[float | None, typer.Option(help="Certify this L2 radius only.", show_default=False)] = None,
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the report (JSON).", show_default=False)
    ] = None,
    json: options.Json = False,
) -> int:
    """Certify predictions by randomized smoothing."""
    from martensite.certification import CERTIFIERS, certify
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, show_certificates
    from martensite.cli.progress import Display
    from martensite.evaluation import summarise_certificates

    certifier = CERTIFIERS.build({"kind": method, "sigma": sigma, "n": n, "alpha": alpha})
    inputs = options.dataset(data, split, label, scale, samples)
    source = load_model(model, weights, inputs)
    with Display(quiet=json) as display:
        certificates = certify(source.model, inputs.x, inputs.y, certifier, radius=radius, seed=seed, listener=display)
    report = summarise_certificates(certificates, certifier, source.model, inputs, seed)
    if out is not None:
        report.save(out)
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        show_certificates(report)
    return 0
