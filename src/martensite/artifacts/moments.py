"""Moments in time as evidence states them: UTC, to the second, read from ISO 8601 text or from YAML's own dates."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from martensite.core.errors import ConfigError


def now() -> datetime:
    """This moment, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def read_moment(value: Any) -> Any:
    """A moment from text or from a YAML date (its midnight); without a zone it is UTC.

    Raises:
        ConfigError: text that is no moment.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{value[:60]!r} is no moment", "moments are ISO 8601", "write 2026-12-31T12:00:00Z") from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        return value  # pydantic says what is wrong with it
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def write_moment(moment: datetime) -> str:
    """``2026-12-31T12:00:00Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


Moment = Annotated[datetime, BeforeValidator(read_moment), PlainSerializer(write_moment, return_type=str)]
