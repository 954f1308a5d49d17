"""martensite convert: a torch checkpoint as a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "convert"
EXAMPLES = """Examples:\n
  martensite convert old.pth models/new --arch small_cnn --shape 1,8,8 --classes 10\n
  martensite convert run.ckpt models/new --arch wide_resnet --set depth=28 --set width=10 --shape 3,32,32 --classes 10 \\\n
      --key ema.state_dict --mean 0.4914,0.4822,0.4465 --std 0.2471,0.2435,0.2616"""


def command(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file of torch.save, or safetensors.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder to write.", show_default=False)],
    arch: Annotated[str, typer.Option(metavar="NAME", help="The architecture that the weights are for.", show_default=False)],
    shape: Annotated[str, typer.Option(metavar="N,N,N", help="Shape of one input.", show_default=False)],
    classes: Annotated[int, typer.Option(min=2, metavar="K", help="Number of classes.", show_default=False)],
    settings: options.Settings = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where in the file the weights lie, e.g. ema.state_dict.", show_default=False),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="X,...", help="Subtracted from inputs, one or one a channel.", show_default=False)
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="X,...", help="Inputs are divided by it.", show_default=False)] = None,
    box: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Range of inputs.")] = "0,1",
    names: Annotated[str | None, typer.Option(metavar="A,B,...", help="Names of the classes.", show_default=False)] = None,
    json: options.Json = False,
) -> int:
    """Turn a torch checkpoint into a bundle: scanned, read with weights_only=True, and saved as safetensors."""
    from martensite.artifacts import read_manifest
    from martensite.artifacts.convert import convert
    from martensite.cli.output import print_json, show_warnings
    from martensite.cli.progress import plain, show
    from martensite.core.errors import ConfigError
    from martensite.models import ARCHITECTURES

    low, high, *more = _numbers("--box", box)
    if more:
        raise ConfigError(f"--box is {box!r}", "it has a lowest and a highest value", "e.g. 0,1")
    done = convert(
        source,
        target,
        ARCHITECTURES.build(options.parameters(arch, settings or [])),
        tuple(int(number) for number in _numbers("--shape", shape)),
        classes,
        key=key,
        mean=None if mean is None else _numbers("--mean", mean),
        std=None if std is None else _numbers("--std", std),
        box=(low, high),
        class_names=tuple(names.split(",")) if names else (),
    )
    manifest = read_manifest(done.bundle)
    if json:
        found = [finding.model_dump(mode="json") for finding in done.report.findings]
        document = {
            "bundle": str(done.bundle),
            "digest": manifest.digest,
            "key": done.key,
            "prefix": done.prefix,
            "findings": found,
        }
        print_json(document)
        return 0
    show_warnings(tuple(f"{finding.path}: {finding.reason}" for finding in done.report.findings))
    taken = f" from {done.key!r}" if done.key else ""
    show(f"Bundle: {plain(done.bundle)}{plain(taken)}, {manifest.digest[:19]}...")
    return 0


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from martensite.core.config import to_number
    from martensite.core.errors import ConfigError

    numbers = tuple(to_number(part) for part in text.split(","))
    if None in numbers:
        raise ConfigError(f"{option} is {text!r}", "numbers with commas between them are needed", "e.g. 3,32,32")
    return tuple(number for number in numbers if number is not None)
