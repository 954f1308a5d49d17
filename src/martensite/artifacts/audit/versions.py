"""What the log knows of models and data: which versions there were, who made each from what, and who used which data for what."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from martensite.artifacts.audit.entry import Record

MADE = ("train", "harden", "sweep", "convert", "save")  # what makes a version; the first record of a digest counts
PARENTS = ("from", "source")  # names under which details hold what it was made from
PLAIN = ("from", "data", "files", "error", "cut", "undescribed")  # told elsewhere, or no change


@dataclass
class Version:
    """A model, by digest.

    Attributes:
        model: ``"sha256:..."``.
        name: What it was called last; empty if nothing.
        number: Of the record that made it, or first spoke of it.
        time: Of that record.
        author: Who made it.
        action: How.
        parent: What it was made from; empty if unknown.
        changes: What was done to the parent.
        release: ``"name 3"``, where a release was attested.
        requests: How often a server recorded that it was asked.
        history: ``(time, actor, action, outcome)`` of all else that was done with it later.
    """

    model: str
    name: str
    number: int
    time: str
    author: str
    action: str
    parent: str = ""
    changes: str = ""
    release: str = ""
    requests: int = 0
    history: list[tuple[str, str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class DataAccess:
    """Who read which data for what."""

    number: int
    time: str
    actor: str
    data: str
    name: str
    purpose: str
    outcome: str


def model_versions(log_records: Iterable[Record]) -> list[Version]:
    """Every model that the records speak of, in the order in which they came up."""
    found: dict[str, Version] = {}
    for record in log_records:
        details = read_details(record)
        model = record.subject if record.kind == "model" else str(details.get("model", ""))
        if not model.startswith("sha256:") or record.outcome == "begun":
            continue
        known = found.get(model)
        if known is None:
            known = found[model] = Version(model, "", record.number, record.time, record.actor, record.action)
        elif known.action not in MADE and record.action in MADE:
            known.number, known.time, known.author, known.action = record.number, record.time, record.actor, record.action
        if record.number == known.number and record.action in MADE:
            known.parent = next((str(details[name]) for name in PARENTS if details.get(name)), "")
            known.changes = changes(record, details)
        elif record.action == "request":
            known.requests += 1
        else:
            known.history.append((record.time, record.actor, record.action, record.outcome))
        if record.kind in ("model", "files") and record.name:
            known.name = record.name
        if record.action == "attest" and details.get("type") == "release":
            known.release = f"{details.get('release', '')} {details.get('version', '')}".strip()
    return list(found.values())


def data_accesses(log_records: Iterable[Record]) -> Iterator[DataAccess]:
    """Each access to data."""
    for record in log_records:
        if record.action == "access":
            yield DataAccess(
                record.number, record.time, record.actor, record.subject, record.name, record.purpose, record.outcome
            )


def changes(record: Record, details: dict[str, Any]) -> str:
    """What was done, in a line: ``harden: objective trades, threat linf 0.1``."""
    told = [f"{name} {_short(value)}" for name, value in details.items() if name not in PLAIN and value not in ("", None, [], {})]
    return f"{record.action}: {', '.join(told)}" if told else record.action


def read_details(record: Record) -> dict[str, Any]:
    """The details; none where someone wrote there what is no JSON object."""
    try:
        document = json.loads(record.details)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:19] + "..." if text.startswith("sha256:") else text[:200]
