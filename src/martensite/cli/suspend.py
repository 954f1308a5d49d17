"""martensite suspend: a model must not serve until someone approves it anew."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.attest import Bundle, ClaimsFile, claim
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring

NAME = "suspend"
EXAMPLES = """Examples:\n
  martensite suspend models/hardened --reason 'under attack since noon' --key watch\n
  martensite approve models/hardened --resume --reason 'the client is blocked' --key ada      ends it"""


def command(
    bundle: Bundle,
    reason: Annotated[str, typer.Option(metavar="WHY", help="Why it must not serve.", show_default=False)],
    claims: ClaimsFile = None,
    key: KeyName = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Suspend a model, by a key of the role monitor or approver: every gate says FAIL, and every server that reads these claims
    takes it out within two seconds. It is ended by 'martensite approve --resume' alone."""
    path: Path | None = None
    claim(bundle, path, "suspension", {"reason": reason}, claims, keyring(home), key, passphrase_file, json)
