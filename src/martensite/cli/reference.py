"""martensite reference: how the data looks that a model was evaluated on, kept in its bundle."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "reference"
EXAMPLES = """Examples:\n
  martensite reference models/hardened --data digits\n
  martensite reference models/hardened --data mnist:data/mnist --split test --samples 2000 && martensite sign models/hardened"""


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Not signed yet.", show_default=False)],
    data: options.Data = "digits",
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Put the statistics into a bundle that a server measures drift from, of at most 2000 samples of the data that the model was
    evaluated on. Sign the bundle afterwards: the signature covers them."""
    from martensite.artifacts import load_bundle
    from martensite.artifacts.reference import REFERENCE, add_reference
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.cli.serving import installed

    installed()
    from martensite.serving.monitoring.drift.reference import MOST, Reference

    model = load_bundle(bundle, trust_code=trust_code)
    found = options.dataset(data, split, label, scale, None)
    reference = Reference.of(model, found, samples=samples or MOST, seed=seed)
    content = reference.to_bytes()
    add_reference(bundle, content)
    about = reference.about
    if json:
        print_json({"file": str(bundle / REFERENCE), "bytes": len(content), "accuracy": reference.accuracy, **about.model_dump()})
    else:
        size = f"{about.n} samples of {about.data['name']}, {about.data['split']}, {len(content) / 1024:.0f} KiB"
        show(plain(f"{bundle / REFERENCE}: {size}; accuracy {reference.accuracy:.1%}. Sign the bundle now."))
