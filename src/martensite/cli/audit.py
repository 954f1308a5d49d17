"""martensite audit: who did what to which digest when, and is the log of it whole?"""

from typing import Annotated

import typer

from martensite.cli import audit_evidence, options
from martensite.cli.audit_options import (
    MOST,
    Actor,
    ModelFilter,
    Place,
    Since,
    Until,
    line,
    moment,
    named,
    open_log,
    place_of,
    print_list,
)
from martensite.cli.audited import installed
from martensite.cli.secrets import tell

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

for command in (audit_evidence.verify, audit_evidence.checkpoint, audit_evidence.prove, audit_evidence.export):
    app.command(command.__name__)(command)


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
    last: Annotated[int | None, typer.Option(min=1, max=MOST, metavar="N", help="Only the last N.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Who did what to which digest when, oldest first."""
    from dataclasses import asdict

    from martensite.artifacts.audit.versions import read_details

    with open_log(place) as log:
        subject = None if model is None else named(model)
        found = log.read(
            since=moment(since), until=moment(until), subject=subject, actions=action or (), actor=actor, newest=last
        )
        if json:
            print_list("records", ({**asdict(one), "details": read_details(one)} for one in found))
            return
        for one in found:
            about = f"{one.kind} {one.name} {one.subject[:19]}" if one.subject else one.name
            words = (one.time[:19], one.actor, one.action, about, "" if one.outcome == "done" else one.outcome)
            line(f"{one.number:>6}", *words, f"for {one.purpose}" if one.purpose not in ("", one.action) else "")


@app.command("models")
def show_models(place: Place = None, model: ModelFilter = None, json: options.Json = False) -> None:
    """Versions of models: when each was made, by whom, from which, by what changes, and what was done with it since."""
    from dataclasses import asdict

    from martensite.artifacts.audit.versions import model_versions

    with open_log(place) as log:
        found = model_versions(log.read())
    if model is not None:
        wanted = named(model)
        digits = "sha256:" + wanted.removeprefix("sha256:")
        found = [one for one in found if one.name == wanted or (len(digits) > 12 and one.model.startswith(digits))]
    if json:
        print_list("models", (asdict(one) for one in found))
        return
    for one in found:
        line(one.model[:19], one.name, one.release, f"{one.time[:19]} by {one.author}")
        line("   ", one.changes or one.action, f"of {one.parent[:19]}" if one.parent else "")
        for time, actor, action, outcome in one.history:
            line("   ", time[:19], actor, action, outcome)
        if one.requests:
            line("   ", f"asked {one.requests:,} times")


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

    with open_log(place) as log:
        found = log.read(since=moment(since), until=moment(until), subject=data, actions=("access",), actor=actor)
        if json:
            print_list("accesses", (asdict(one) for one in data_accesses(found)))
            return
        for one in data_accesses(found):
            how = "" if one.outcome == "done" else one.outcome
            line(
                f"{one.number:>6}",
                one.time[:19],
                one.actor,
                one.name,
                one.data[:19],
                f"for {one.purpose or 'no stated purpose'}",
                how,
            )


@app.command("erase")
def erase(
    reason: Annotated[str, typer.Option(metavar="WHY", help="E.g. 'retention of 30 days'.", show_default=False)],
    before: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Of all records before that: 2026-11-01, or 30d.", show_default=False)
    ] = None,
    number: Annotated[int | None, typer.Option(min=1, max=MOST, metavar="N", help="Of this record.", show_default=False)] = None,
    place: Place = None,
    json: options.Json = False,
) -> None:
    """Delete payloads (kept inputs) for good. The records stay, the chain verifies, and the deletion is recorded."""
    from martensite.core.errors import ConfigError

    until = moment(before)
    if (until is None) == (number is None):
        raise ConfigError("what to erase is stated once", "--before WHEN or --number N", "give one of them")
    with open_log(place) as log:
        count = log.erase_before(until, reason) if until is not None else log.erase(int(str(number)), int(str(number)), reason)
    tell(json, {"erased": count}, f"{count} payload{'s' if count != 1 else ''} erased")


@app.command("upgrade")
def upgrade(place: Place = None, json: options.Json = False) -> None:
    """Bring the tables of an older version to this one's."""
    installed()
    from martensite.artifacts.audit.database import Database

    database = Database(place_of(place))
    try:
        with database.reading(checked=False) as connection:
            before = database.version(connection)
        changed = database.upgrade()
    finally:
        database.close()
    text = f"from version {before} to the newest" if changed else "nothing to do"
    tell(json, {"upgraded": changed, "from": before}, text)
