"""martensite attest: a signed claim about a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring, secret_of

if TYPE_CHECKING:
    from martensite.artifacts.signing import Keyring

NAME = "attest"
EXAMPLES = """Examples:\n
  martensite attest models/hardened --type robustness results/report.json --key evaluator\n
  martensite attest models/hardened --type scan scan.json --key evaluator\n
  martensite attest models/hardened --type release --set name=digits --set version=3 --key release"""

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that the claim is about.", show_default=False)]
ClaimsFile = Annotated[
    Path | None,
    typer.Option(
        "--claims",
        metavar="FILE",
        dir_okay=False,
        help="File to add the claim to, outside the bundle; default: BUNDLE.claims.jsonl.",
        show_default=False,
    ),
]


def command(
    bundle: Bundle,
    report: Annotated[
        Path | None,
        typer.Argument(metavar="[REPORT]", help="report.json of a run or of one stage, or a file of keys.", show_default=False),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="What is claimed: robustness, certification, privacy, scan, training, data, bom, release, approval, suspension.",
        ),
    ] = "robustness",
    settings: options.Settings = None,
    claims: ClaimsFile = None,
    key: KeyName = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Sign a claim about this very model and add it to the claims; the type says which role's key it takes."""
    given = options.read_settings(settings or [])
    claim(bundle, report, kind, given, claims, keyring(home), key, passphrase_file, json)


def default_claims(bundle: Path) -> Path:
    """Beside the bundle."""
    place = bundle.resolve() if bundle.name in ("", "..") else bundle
    return place.with_name(place.name + ".claims.jsonl")


def claim(
    bundle: Path,
    report: Path | None,
    kind: str,
    given: dict[str, Any],
    claims: Path | None,
    ring: "Keyring",
    key: str | None,
    passphrase_file: Path | None,
    json: bool,
) -> None:
    """Make the claim, sign it, add it, and say so.

    Raises:
        ConfigError: the key's role may not claim this.
    """
    from martensite.artifacts.attest import KINDS, Subject, append_claim, make_claim, predicate_of
    from martensite.artifacts.moments import now
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.core.errors import ConfigError

    subject, path = Subject.of(bundle), claims or default_claims(bundle)
    predicate = predicate_of(kind, subject, report, given, now())
    record, role = ring.record(key), KINDS[kind].role
    if record.role not in (role, *KINDS[kind].also):
        raise ConfigError(
            f"the key {record.name!r} has the role {record.role}",
            f"{kind} is claimed by a key of the role {' or '.join((role, *KINDS[kind].also))}",
            "give --key NAME",
        )
    line = make_claim(subject, predicate, ring.private(secret_of(record, passphrase_file), record.name))
    append_claim(path, line, bundle=bundle)
    if json:
        print_json({"claims": str(path), "key": record.id, "subject": subject.resource(), "type": predicate.uri()})
    else:
        show(plain(f"{path}: {kind} of {subject.name}, claimed by {record.name} ({record.owner})"))
