"""Whether this command is recorded; help waits for nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from martensite.core.errors import ConfigError

SILENT = ("audit", "schema", "policy")  # they do nothing to any model, or read the log itself


def taken_out(words: list[str]) -> tuple[list[str], str | None]:
    """The words without ``--audit URL``, which may stand anywhere, and the URL.

    Raises:
        ConfigError: ``--audit`` without one, or twice.
    """
    if words[:1] == ["audit"]:  # it has the option itself
        return words, None
    rest, found = [], list[str]()
    given = iter(words)
    for word in given:
        if word == "--audit" or word.startswith("--audit="):
            _, equals, value = word.partition("=")
            found.append(value if equals else next(given, ""))
        else:
            rest.append(word)
    if "" in found or len(found) > 1:
        raise ConfigError(
            "--audit was given without a place, or twice", "it is --audit FILE or --audit URL", "e.g. --audit audit.db"
        )
    return rest, found[0] if found else None


@contextmanager
def audited(words: list[str], log: str | None) -> Iterator[None]:
    """Record what the command does, if ``--audit``, ``MARTENSITE_AUDIT``, the user's file or the machine's says where.

    Raises:
        ConfigError: a log is required and none is named, or what it needs is not installed.
        StorageError: it can't be written, now or when the command ends.
    """
    if words[0] in SILENT or words[0].startswith("-") or {"-h", "--help"} & set(words):
        yield
        return
    from martensite.core.audit_rule import audit_rule

    if audit_rule(log).log is None:
        yield
        return
    installed()
    from martensite.artifacts.audit.trail import audit

    with audit(log, purpose=words[0]):
        yield


def installed() -> None:
    """Refuse early where the extra is missing.

    Raises:
        ConfigError: it is.
    """
    try:
        import alembic  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"the package {error.name} is missing", remedy="pip install 'martensite[evidence]'") from None
