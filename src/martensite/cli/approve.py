"""martensite approve: a person has looked at it and says yes."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.attest import Bundle, ClaimsFile, claim
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring

NAME = "approve"
EXAMPLES = """Examples:\n
  martensite approve models/hardened --reason 'read the report' --key ada\n
  martensite approve models/hardened --reason 'risk accepted until March' --key bob --claims claims.jsonl"""


def command(
    bundle: Bundle,
    reason: Annotated[str, typer.Option(metavar="WHY", help="What the approval rests on.", show_default=False)],
    claims: ClaimsFile = None,
    key: KeyName = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Approve a bundle as it is, by an approver's key; whoever asked for the release does not count as one."""
    path: Path | None = None
    claim(bundle, path, "approval", {"reason": reason}, claims, keyring(home), key, passphrase_file, json)
