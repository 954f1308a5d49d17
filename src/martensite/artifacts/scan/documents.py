"""JSON from strangers: never out of the stack, and what is given twice is not lost."""

import json
from typing import Any

DEEPEST = 200


class BadDocument(Exception):
    """No JSON, or nested deeper than any honest document."""


class Repeats(dict[str, Any]):
    """A mapping in which keys were given more than once; ``all`` has every value."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.first = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        self.all = [value for _, value in pairs]


def parse(content: bytes | str) -> Any:
    """The document.

    Raises:
        BadDocument: it can't be read.
    """
    try:
        return json.loads(content, object_pairs_hook=_mapping)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100] if isinstance(error, ValueError) else "nested too deeply"
        raise BadDocument(reason) from None


def mappings(document: Any) -> list[dict[str, Any]]:
    """Every mapping in it, at any depth; values that a repeat hides as well."""
    found: list[dict[str, Any]] = []
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found.append(item)
            waiting.extend(item.all if isinstance(item, Repeats) else item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return found


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Repeats(pairs)
