"""Of the audit log: what shows that it is whole, to whoever holds it and to others."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options
from martensite.cli.audit_options import MOST, Place, open_log, printable
from martensite.cli.audited import installed
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring, passphrase, tell

if TYPE_CHECKING:
    from martensite.artifacts.audit import Verification
    from martensite.artifacts.signing import PublicKey, Trust

CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FILE", dir_okay=False, help="Checkpoints that were kept elsewhere.", show_default=False
    ),
]
TrustFile = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", dir_okay=False, help="trust.yaml: who may sign checkpoints.", show_default=False),
]
Pub = Annotated[
    Path | None, typer.Option("--key", metavar="PUB", dir_okay=False, help="The auditor's public key.", show_default=False)
]


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Of 'export' or 'prove', instead of the log itself.", show_default=False),
    ] = None,
    place: Place = None,
    checkpoint: CheckpointFile = None,
    trust: TrustFile = None,
    key: Pub = None,
    json: options.Json = False,
) -> int:
    """Is everything as it was recorded? Exit code 1: something was edited, removed, reordered or cut, and which record."""
    installed()
    from martensite.artifacts.audit.checkpoint import LARGEST, read_checkpoints
    from martensite.artifacts.audit.export import verify_export
    from martensite.artifacts.audit.proof import check_proof, is_proof
    from martensite.artifacts.audit.verify import verify_log
    from martensite.artifacts.signing.tree import read_small
    from martensite.cli.progress import Display
    from martensite.core.errors import ConfigError

    by = _by(trust, key)
    kept = [] if checkpoint is None else read_checkpoints(checkpoint)
    if kept and by is None:
        rule = "a checkpoint is worth what its signature is"
        raise ConfigError("--checkpoint was given without --trust or --key", rule, "give --trust FILE or --key PUB")
    if file is not None and place is not None:
        raise ConfigError("both a file and --audit were given", "one log is verified", "leave one of them out")
    if file is not None and is_proof(file):
        if by is None:
            raise ConfigError(
                "a proof was given without --trust or --key", "it rests on a checkpoint's signature", "give --trust"
            )
        proved = check_proof(read_small(file, "give the file of martensite audit prove", LARGEST), by)
        tell(json, {"verified": True, "proved": proved}, proved)
        return 0
    if file is not None:
        return _verdict(verify_export(file, checkpoints=kept, by=by), by is not None, json)
    with open_log(place) as log, Display(quiet=json) as display:
        found = verify_log(log.database, checkpoints=kept, by=by, workers=_workers(log.size), listener=display)
    return _verdict(found, by is not None, json)


def checkpoint(
    place: Place = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Add it to this file; keep that elsewhere.", show_default=False),
    ] = None,
    key: KeyName = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Verify the log and sign its size and Merkle root, with a key of the role auditor."""
    from martensite.artifacts.audit.checkpoint import read_checkpoints
    from martensite.artifacts.audit.sealing import make_checkpoint
    from martensite.cli.progress import Display
    from martensite.core.errors import ConfigError
    from martensite.core.files import write_text

    with open_log(place) as log:
        ring = keyring(home)
        record = ring.record(key)
        if record.role != "auditor":
            rule = "a checkpoint is signed by a key of the role auditor"
            raise ConfigError(
                f"the key {record.name!r} has the role {record.role}", rule, "martensite keys new NAME --role auditor"
            )
        kept = read_checkpoints(out) if out is not None and out.exists() else []
        private = ring.private(passphrase(passphrase_file), record.name)
        with Display(quiet=json) as display:
            made = make_checkpoint(log, private, checkpoints=kept, workers=_workers(log.size), listener=display)
    if out is not None:
        write_text(out, "".join(f"{one.bundle}\n" for one in [*kept, made]))
    document = {"log": made.log, "size": made.size, "root": made.root, "key": record.id, "out": None if out is None else str(out)}
    tell(json, document, f"{made.size} records, root {made.root[:12]}..., signed by {record.name}{f', in {out}' if out else ''}")


def prove(
    number: Annotated[
        int | None,
        typer.Argument(metavar="[NUMBER]", min=1, max=MOST, help="That this record is there.", show_default=False),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Or: that the log grew from this checkpoint.", show_default=False),
    ] = None,
    place: Place = None,
    checkpoint: CheckpointFile = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, not to stdout.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """A proof for someone without the log: that a record is in it, or that it only grew; checked by 'audit verify FILE'."""
    from martensite.artifacts.audit.checkpoint import Checkpoint, read_checkpoints
    from martensite.artifacts.audit.proof import prove_growth, prove_inclusion
    from martensite.core.errors import ArtifactError, ConfigError
    from martensite.core.files import write_json

    if (number is None) == (since is None):
        raise ConfigError("a proof is of one thing", "a record's number, or --since a checkpoint", "give one of them")
    with open_log(place) as log:
        kept = read_checkpoints(checkpoint) if checkpoint is not None else []
        kept = kept or [Checkpoint.parse(one, "the log's checkpoint") for one in log.checkpoints()]
        if not kept:
            raise ArtifactError("the log has no checkpoint", "a proof leads to one", "martensite audit checkpoint")
        newest = max(kept, key=lambda one: one.size)
        if number is not None:
            document = prove_inclusion(log, number, newest)
        else:
            document = prove_growth(log, read_checkpoints(Path(str(since)))[0], newest)
    if out is not None:
        write_json(out, document)
    if json or out is None:
        tell(True, document, "")


def export(
    out: Annotated[Path, typer.Option(metavar="FILE", dir_okay=False, help="Where to.", show_default=False)],
    place: Place = None,
    json: options.Json = False,
) -> None:
    """The whole log as lines of JSON, which 'audit verify FILE' verifies without the database. Payloads stay behind."""
    from martensite.artifacts.audit.export import export_log

    with open_log(place) as log:
        size = export_log(log, out)
    tell(json, {"out": str(out), "records": size}, f"{out}: {size} records")


def _by(trust: Path | None, key: Path | None) -> "PublicKey | Trust | None":
    from martensite.artifacts.signing import PublicKey, Trust
    from martensite.core.errors import ConfigError

    if trust is not None and key is not None:
        raise ConfigError("both --trust and --key were given", "one says who is trusted", "leave one of them out")
    return PublicKey.read(key) if key is not None else None if trust is None else Trust.from_yaml(trust)


def _workers(size: int) -> int:
    """Another process takes a second to start."""
    return min(os.cpu_count() or 1, 8) if size > 200_000 else 1


def _verdict(found: "Verification", trusted: bool, json: bool) -> int:
    from dataclasses import asdict

    from martensite.cli.progress import plain, show

    note = ""
    if found.whole and found.latest < found.size:
        since = f"after record {found.latest}" if found.latest else "anywhere"
        note = f"that the end was cut, or rewritten {since}, would not show: " + (
            "make a newer checkpoint" if trusted else "give --checkpoint FILE with --trust FILE"
        )
    if json:
        document = {"verdict": "PASS" if found.whole else "FAIL", **asdict(found), "note": note or None}
        seconds = document.pop("seconds")
        tell(True, {**document, "timing": {"seconds": seconds}}, "")
        return 0 if found.whole else 1
    for flaw in found.flaws:
        show(f"[red]{flaw.kind}[/]: {printable(flaw.reason)}")
    compared = f"{found.checkpoints} checkpoint{'s' if found.checkpoints != 1 else ''}, {found.signed} of them by someone trusted"
    state = "[green]PASS[/]" if found.whole else f"[red]FAIL[/]: {len(found.flaws)} flaw{'s' if found.flaws[1:] else ''}"
    show(f"{state}: {found.size} records, {compared}; {found.seconds:.1f} s")
    if note:
        show(f"[dim]{plain(note)}[/]")
    return 0 if found.whole else 1
