"""martensite reference: how the data looks that a model was evaluated on, kept in its bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from martensite.data.dataset import Dataset
    from martensite.models import Classifier
    from martensite.serving.monitoring.drift.reference import Reference

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
    from martensite.artifacts.reference import REFERENCE
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show

    check_unsigned(str(bundle))
    model = load_bundle(bundle, trust_code=trust_code)
    reference, size = keep(bundle, model, options.dataset(data, split, label, scale, None), seed, samples)
    about = reference.about
    if json:
        print_json({"file": str(bundle / REFERENCE), "bytes": size, "accuracy": reference.accuracy, **about.model_dump()})
    else:
        text = f"{about.n} samples of {about.data['name']}, {about.data['split']}, {size / 1024:.0f} KiB"
        show(plain(f"{bundle / REFERENCE}: {text}; accuracy {reference.accuracy:.1%}. Sign the bundle now."))


def check_unsigned(model: str) -> None:
    """Refuse, before any work, what takes no statistics.

    Raises:
        ConfigError: the extra is missing.
        ArtifactError: no bundle, or one that is signed.
    """
    from martensite.artifacts.reference import refuse_signed
    from martensite.cli.serving import installed

    installed()
    refuse_signed(model)


def statistics(seed: int) -> "Callable[[Classifier, Dataset], bytes | None] | None":
    """Takes them for a pipeline's bundle; None where the extra is missing, without which nothing watches them."""
    from martensite.cli.serving import installed
    from martensite.core.errors import ConfigError

    try:
        installed()
    except ConfigError:
        return None

    def take(model: "Classifier", data: "Dataset") -> bytes | None:
        from martensite.serving.monitoring.drift.reference import LEAST, Reference

        return Reference.of(model, data, seed=seed).to_bytes() if len(data) >= LEAST else None

    return take


def keep(bundle: Path, model: "Classifier", data: "Dataset", seed: int, samples: int | None = None) -> tuple["Reference", int]:
    """Take the statistics and put them into the bundle; also says how many bytes they have."""
    from martensite.artifacts.reference import add_reference
    from martensite.serving.monitoring.drift.reference import MOST, Reference

    reference = Reference.of(model, data, samples=samples or MOST, seed=seed)
    content = reference.to_bytes()
    add_reference(bundle, content)
    return reference, len(content)
