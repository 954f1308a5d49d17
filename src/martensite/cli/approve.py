"""martensite approve: a person has looked at it and says yes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.attest import Bundle, ClaimsFile, claim, default_claims
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring

NAME = "approve"
EXAMPLES = """Examples:\n
  martensite approve models/hardened --reason 'read the report' --key ada\n
  martensite approve models/hardened --reason 'risk accepted until March' --key bob --claims claims.jsonl\n
  martensite approve models/hardened --resume --reason 'a broken camera, replaced' --key ada"""


def command(
    bundle: Bundle,
    reason: Annotated[str, typer.Option(metavar="WHY", help="What the approval rests on.", show_default=False)],
    resume: Annotated[
        bool, typer.Option("--resume", help="End every suspension that the claims hold now; each is shown.")
    ] = False,
    claims: ClaimsFile = None,
    key: KeyName = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Approve a bundle as it is, by an approver's key; whoever asked for the release does not count as one."""
    path: Path | None = None
    given: dict[str, Any] = {"reason": reason}
    if resume:
        given["resumes"] = _suspensions(claims or default_claims(bundle), quiet=json)
    claim(bundle, path, "approval", given, claims, keyring(home), key, passphrase_file, json)


def _suspensions(path: Path, *, quiet: bool) -> list[str]:
    """SHA-256 of every suspension in the claims, whoever made it: to end one that doesn't count harms nobody.

    Raises:
        ConfigError: there is none.
    """
    from martensite.artifacts.attest.claims import LARGEST, unverified
    from martensite.artifacts.weights import read_file
    from martensite.cli.progress import plain, show
    from martensite.core.errors import ConfigError

    found = unverified(read_file(path, "give --claims FILE", LARGEST), "suspension")
    if not found:
        raise ConfigError(f"{path} holds no suspension", "there is nothing to resume", "leave --resume out")
    for _, content in found if not quiet else ():
        show(plain(f"ends the suspension of {content.get('created')}: {content.get('reason')}"))
    return [digest for digest, _ in found]
