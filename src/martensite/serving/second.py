"""A second opinion: what a detector flags is answered by another model, which is slower or more robust, by rules of its own."""

from dataclasses import replace
from typing import Literal

from martensite.core.errors import DataError
from martensite.serving.beside import same_names
from martensite.serving.line import Line
from martensite.serving.observer import Decision, Routed
from martensite.serving.outcome import Outcome
from martensite.serving.protocol.request import Query
from martensite.serving.refusal import Refusal


async def ask_second(
    line: Line | None, asked: Line, query: Query, outside: Literal["refuse", "clip"], first: Outcome, id: str, key: str
) -> Outcome:
    """The outcome with the second model's answers in the flagged rows; where that can't answer they are refused.

    Args:
        line: The second model; None: it doesn't serve at present.
        asked: The first model.
        query: What the client sent: the second model has preprocessing of its own.
        outside: What becomes of inputs outside its range.
        first: The first model's outcome.
        id: Of the request.
        key: Name of its API key.
    """
    rows = [row for row, word in enumerate(first.decisions) if word == "flagged"]
    if not rows:
        return first
    decisions: list[Decision] = ["refused" if word == "flagged" else word for word in first.decisions]
    flagged, nobody = rows, replace(first, decisions=decisions, routed=Routed("", "", dict.fromkeys(rows, "refused")))
    if line is None or not _alike(line, asked):
        return nobody
    try:
        x = line.prepare(replace(query, x=query.x[rows]), outside)
        kept = [place for place, reason in enumerate(line.refusals(x)) if reason is None]
        rows = [rows[place] for place in kept]
        if not rows:
            return nobody
        second = await line.answer(x[kept], id, key)
    except (Refusal, DataError):
        return nobody
    logits = first.logits.copy()
    logits[rows] = second.logits
    for row, word in zip(rows, second.decisions, strict=True):
        decisions[row] = "routed" if word in ("answered", "flagged") else word
    became = {row: decisions[row] for row in flagged}
    routed = Routed(line.name, line.loaded.digest, became, second.decisions.count("flagged"))
    return replace(first, logits=logits, decisions=decisions, routed=routed)


def _alike(one: Line, other: Line) -> bool:
    """Whether clients send both the same numbers and they mean the same classes."""
    mine, theirs = one.loaded.manifest, other.loaded.manifest
    return one.levels == other.levels and mine.classes == theirs.classes and same_names(mine, theirs)
