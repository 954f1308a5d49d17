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
    from martensite.artifacts.signing import KeyRecord, Keyring

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
        help=f"File whose first line is the passphrase, or a token's PIN; default: {VARIABLE}, or asked for.",
        show_default=False,
    ),
]
KeyName = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="NAME",
        help="The key to sign with, by name or by its token's URI; default: see 'keys use'.",
        show_default=False,
    ),
]


def passphrase(file: Path | None, *, fresh: bool = False, what: str = "passphrase") -> str:
    """From the file, the environment or the terminal, in this order; a fresh one is asked for twice. A token's is its ``PIN``.

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
        raise ConfigError(f"there is no {what}", f"a key is used under its {what}", f"--passphrase-file, or set {VARIABLE}")
    given = getpass.getpass(f"{what[0].upper()}{what[1:]}: ")
    if fresh and getpass.getpass("Once more: ") != given:
        raise ConfigError("the two passphrases differ", "a new one is given twice alike", "try again")
    return given


def secret_of(record: "KeyRecord", file: Path | None) -> str:
    """Passphrase of a key, or PIN of its token; raises as `passphrase`."""
    return passphrase(file, what="PIN" if record.token else "passphrase")


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
