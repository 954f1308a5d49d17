"""martensite audit: who did what to which digest when, and is the log of it whole?"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.audited import installed
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring, passphrase, tell

if TYPE_CHECKING:
    from martensite.artifacts.audit import AuditLog, Verification
    from martensite.artifacts.signing import PublicKey, Trust

NAME = "audit"
EXAMPLES = """Examples:\n
  martensite harden models/baseline --eps 0.15 --out models/hard --audit audit.db     (records; so does MARTENSITE_AUDIT)\n
  martensite audit log --audit audit.db --since 2026-11-01 --model models/hard\n
  martensite audit checkpoint --audit audit.db --key auditor --out checkpoints.jsonl\n
  martensite audit verify --audit audit.db --checkpoint checkpoints.jsonl --trust trust.yaml"""

app = typer.Typer(
    name=NAME,
    help="The audit log: log, models, access, verify, checkpoint, prove, export, erase, upgrade.",
    epilog=EXAMPLES,
    no_args_is_help=False,
)

Place = Annotated[
    str | None,
    typer.Option(
        "--audit",
        metavar="FILE|URL",
        help="The log: a file, or postgresql://USER@HOST/NAME; default: MARTENSITE_AUDIT, or ~/.config/martensite/audit.yaml.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Then or later: 2026-11-01, 2026-11-01T12:00Z, or 7d, 12h.", show_default=False)
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Before that.", show_default=False)]
ModelFilter = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="About this one: a bundle, a digest or its first digits, or a name.", show_default=False
    ),
]
Actor = Annotated[str | None, typer.Option(metavar="WHO", help="By this one.", show_default=False)]
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


@app.command("log")
def show_log(
    place: Place = None,
    since: Since = None,
    until: Until = None,
    model: ModelFilter = None,
    action: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Only train, sign, ...; may repeat.", show_default=False)
    ] = None,
    actor: Actor = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the last N of them.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Who did what to which digest when, oldest first."""
    from dataclasses import asdict

    from martensite.artifacts.audit.versions import read_details

    with _log(place) as log:
        subject = None if model is None else _digest(model)
        found = log.read(
            since=_moment(since), until=_moment(until), subject=subject, actions=action or (), actor=actor, newest=last
        )
        if json:
            _print_list("records", ({**asdict(one), "details": read_details(one)} for one in found))
            return
        for one in found:
            about = f"{one.kind} {one.name} {one.subject[:19]}" if one.subject else one.name
            words = (one.time[:19], one.actor, one.action, about, "" if one.outcome == "done" else one.outcome)
            _line(f"{one.number:>6}", *words, f"for {one.purpose}" if one.purpose not in ("", one.action) else "")


@app.command("models")
def show_models(place: Place = None, model: ModelFilter = None, json: options.Json = False) -> None:
    """Versions of models: when each was made, by whom, from which, by what changes, and what was done with it since."""
    from dataclasses import asdict

    from martensite.artifacts.audit.versions import model_versions

    with _log(place) as log:
        found = model_versions(log.read())
    if model is not None:
        wanted = _digest(model)
        digits = "sha256:" + wanted.removeprefix("sha256:")
        found = [one for one in found if one.name == wanted or (len(digits) > 12 and one.model.startswith(digits))]
    if json:
        _print_list("models", (asdict(one) for one in found))
        return
    for one in found:
        _line(one.model[:19], one.name, one.release, f"{one.time[:19]} by {one.author}")
        _line("   ", one.changes or one.action, f"of {one.parent[:19]}" if one.parent else "")
        for time, actor, action, outcome in one.history:
            _line("   ", time[:19], actor, action, outcome)


@app.command("access")
def show_access(
    place: Place = None,
    since: Since = None,
    until: Until = None,
    data: Annotated[str | None, typer.Option(metavar="DIGEST|NAME", help="To this data.", show_default=False)] = None,
    actor: Actor = None,
    json: options.Json = False,
) -> None:
    """Who read which data, and what for."""
    from dataclasses import asdict

    from martensite.artifacts.audit.versions import data_accesses

    with _log(place) as log:
        found = log.read(since=_moment(since), until=_moment(until), subject=data, actions=("access",), actor=actor)
        if json:
            _print_list("accesses", (asdict(one) for one in data_accesses(found)))
            return
        for one in data_accesses(found):
            how = "" if one.outcome == "done" else one.outcome
            _line(
                f"{one.number:>6}",
                one.time[:19],
                one.actor,
                one.name,
                one.data[:19],
                f"for {one.purpose or 'no stated purpose'}",
                how,
            )


@app.command("verify")
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
    from martensite.artifacts.audit.checkpoint import read_checkpoints
    from martensite.artifacts.audit.export import verify_export
    from martensite.artifacts.audit.proof import check_proof, is_proof
    from martensite.artifacts.audit.verify import verify_log
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
        proved = check_proof(file.read_bytes(), by)
        tell(json, {"verified": True, "proved": proved}, proved)
        return 0
    if file is not None:
        return _verdict(verify_export(file, checkpoints=kept, by=by), by is not None, json)
    with _log(place) as log, Display(quiet=json) as display:
        found = verify_log(log.database, checkpoints=kept, by=by, workers=_workers(log.size), listener=display)
    return _verdict(found, by is not None, json)


@app.command("checkpoint")
def make(
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

    with _log(place) as log:
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


@app.command("prove")
def prove(
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", min=1, help="That this record is in the log.", show_default=False)
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
    with _log(place) as log:
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


@app.command("export")
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", dir_okay=False, help="Where to.", show_default=False)],
    place: Place = None,
    json: options.Json = False,
) -> None:
    """The whole log as lines of JSON, which 'audit verify FILE' verifies without the database. Payloads stay behind."""
    from martensite.artifacts.audit.export import export_log

    with _log(place) as log:
        size = export_log(log, out)
    tell(json, {"out": str(out), "records": size}, f"{out}: {size} records")


@app.command("erase")
def erase(
    reason: Annotated[str, typer.Option(metavar="WHY", help="E.g. 'retention of 30 days'.", show_default=False)],
    before: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Of all records before that: 2026-11-01, or 30d.", show_default=False)
    ] = None,
    number: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of this record.", show_default=False)] = None,
    place: Place = None,
    json: options.Json = False,
) -> None:
    """Delete payloads (kept inputs) for good. The records stay, the chain verifies, and the deletion is recorded."""
    from martensite.core.errors import ConfigError

    moment = _moment(before)
    if (moment is None) == (number is None):
        raise ConfigError("what to erase is stated once", "--before WHEN or --number N", "give one of them")
    with _log(place) as log:
        count = log.erase_before(moment, reason) if moment is not None else log.erase(int(str(number)), int(str(number)), reason)
    tell(json, {"erased": count}, f"{count} payload{'s' if count != 1 else ''} erased")


@app.command("upgrade")
def upgrade(place: Place = None, json: options.Json = False) -> None:
    """Bring the tables of an older version to this one's."""
    installed()
    from martensite.artifacts.audit.database import Database

    database = Database(_place(place))
    try:
        with database.reading(checked=False) as connection:
            before = database.version(connection)
        changed = database.upgrade()
    finally:
        database.close()
    text = f"from version {before} to the newest" if changed else "nothing to do"
    tell(json, {"upgraded": changed, "from": before}, text)


def _log(place: str | None) -> "AuditLog":
    installed()
    from martensite.artifacts.audit.log import AuditLog
    from martensite.core.audit_rule import audit_rule

    return AuditLog(_place(place), actor=audit_rule(place).actor, create=False)


def _place(place: str | None) -> str:
    from martensite.core.audit_rule import audit_rule
    from martensite.core.errors import ConfigError

    found = audit_rule(place).log
    if found is None:
        raise ConfigError("no audit log is named", "it is a file or a URL", "give --audit FILE, or set MARTENSITE_AUDIT")
    return found


def _by(trust: Path | None, key: Path | None) -> "PublicKey | Trust | None":
    from martensite.artifacts.signing import PublicKey, Trust
    from martensite.core.errors import ConfigError

    if trust is not None and key is not None:
        raise ConfigError("both --trust and --key were given", "one says who is trusted", "leave one of them out")
    return PublicKey.read(key) if key is not None else None if trust is None else Trust.from_yaml(trust)


def _moment(text: str | None) -> Any:
    import re
    from datetime import UTC, datetime, timedelta

    from martensite.artifacts.moments import read_moment

    if text is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([dh])", text):
        return datetime.now(UTC) - timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})
    return read_moment(text)


def _digest(model: str) -> str:
    """A bundle's model digest as its model.json has it; anything else as it is."""
    from martensite.artifacts.stated import stated_digest

    return stated_digest(Path(model)) or model


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
        show(f"[red]{flaw.kind}[/]: {_printable(flaw.reason)}")
    compared = f"{found.checkpoints} checkpoint{'s' if found.checkpoints != 1 else ''}, {found.signed} of them by someone trusted"
    state = "[green]PASS[/]" if found.whole else f"[red]FAIL[/]: {len(found.flaws)} flaw{'s' if found.flaws[1:] else ''}"
    show(f"{state}: {found.size} records, {compared}; {found.seconds:.1f} s")
    if note:
        show(f"[dim]{plain(note)}[/]")
    return 0 if found.whole else 1


def _print_list(name: str, items: Any) -> None:
    tell(True, {name: list(items)}, "")


def _line(*words: str) -> None:
    from martensite.cli.progress import show

    show("  ".join(_printable(word) for word in words if word))


def _printable(text: str) -> str:
    """What others wrote must not command the terminal."""
    from martensite.cli.progress import plain

    return plain("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))
