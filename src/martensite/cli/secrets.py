"""Options about keys that several commands share, and where a passphrase comes from: never the command line, which others see."""

import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from martensite.artifacts.signing import Keyring

VARIABLE = "MARTENSITE_PASSPHRASE"

Home = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the keys; default: ~/.config/martensite/keys.", show_default=False),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help=f"File whose first line is the passphrase; default: {VARIABLE}, or asked for.",
        show_default=False,
    ),
]
KeyName = Annotated[
    str | None, typer.Option("--key", metavar="NAME", help="The key to sign with; default: see 'keys use'.", show_default=False)
]


def passphrase(file: Path | None, *, fresh: bool = False) -> str:
    """From the file, the environment or the terminal, in this order; a fresh one is asked for twice.

    Raises:
        ArtifactError: a file that can't be read.
        ConfigError: no passphrase, or two that differ.
    """
    if file is not None:
        try:
            return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{file} can't be read: {error}", remedy="give a file with the passphrase") from None
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise ConfigError("there is no passphrase", "a key is used under its passphrase", f"--passphrase-file, or set {VARIABLE}")
    given = getpass.getpass("Passphrase: ")
    if fresh and getpass.getpass("Once more: ") != given:
        raise ConfigError("the two passphrases differ", "a new one is given twice alike", "try again")
    return given


def keyring(home: Path | None) -> "Keyring":
    """The keyring, or how to install what it needs."""
    installed()
    from martensite.artifacts.signing import Keyring

    return Keyring(home)


def tell(as_json: bool, document: Any, text: str) -> None:
    """One JSON document, or a line for people."""
    from martensite.cli.progress import plain, show

    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        show(plain(text))


def installed() -> None:
    """Refuse early where the extra is missing.

    Raises:
        ConfigError: it is.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ConfigError("the package cryptography is missing", remedy="pip install 'martensite[evidence]'") from None
