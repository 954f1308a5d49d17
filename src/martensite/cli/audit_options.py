"""Options that the commands of the audit log share, and what they are turned into."""

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli.audited import installed

if TYPE_CHECKING:
    from martensite.artifacts.audit import AuditLog

MOST = 10**15  # records, beyond which no database counts

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


def open_log(place: str | None) -> "AuditLog":
    installed()
    from martensite.artifacts.audit.log import AuditLog
    from martensite.core.audit_rule import audit_rule

    return AuditLog(place_of(place), actor=audit_rule(place).actor, create=False)


def place_of(place: str | None) -> str:
    from martensite.core.audit_rule import audit_rule
    from martensite.core.errors import ConfigError

    found = audit_rule(place).log
    if found is None:
        raise ConfigError("no audit log is named", "it is a file or a URL", "give --audit FILE, or set MARTENSITE_AUDIT")
    return found


def moment(text: str | None) -> Any:
    import re
    from datetime import UTC, datetime, timedelta

    from martensite.artifacts.moments import read_moment

    if text is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([dh])", text):
        return datetime.now(UTC) - timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})
    return read_moment(text)


def named(model: str) -> str:
    """A bundle's model digest as its model.json has it; anything else as it is."""
    from martensite.artifacts.stated import stated_digest

    return stated_digest(Path(model)) or model


def print_list(name: str, items: Any) -> None:
    """One JSON document with a list that need not fit in memory."""
    print(f'{{\n  "{name}": [', end="")
    comma = ""
    for item in items:
        print(f"{comma}\n{textwrap.indent(json.dumps(item, indent=2, allow_nan=False), '    ')}", end="")
        comma = ","
    print("\n  ]\n}" if comma else "]\n}")


def line(*words: str) -> None:
    from martensite.cli.progress import show

    show("  ".join(printable(word) for word in words if word))


def printable(text: str) -> str:
    """What others wrote must not command the terminal."""
    from martensite.cli.progress import plain

    return plain("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))
