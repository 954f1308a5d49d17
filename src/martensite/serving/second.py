"""A second opinion: what a detector flags is answered by another model, which is slower or more robust, by rules of its own."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from martensite.artifacts.manifest import Manifest
from martensite.core.errors import DataError
from martensite.serving.line import Line
from martensite.serving.observer import Decision, Routed
from martensite.serving.outcome import Outcome
from martensite.serving.refusal import Refusal


async def ask_second(
    line: Line | None, asked: Manifest, x: npt.NDArray[np.float32], first: Outcome, id: str, key: str
) -> Outcome:
    """The outcome with the second model's answers in the flagged rows; where that can't answer they are refused.

    Args:
        line: The second model; None: it doesn't serve at present.
        asked: Of the first model.
        x: (n, *d) as the first took it.
        first: Its outcome.
        id: Of the request.
        key: Name of its API key.
    """
    rows = [row for row, word in enumerate(first.decisions) if word == "flagged"]
    if not rows:
        return first
    decisions: list[Decision] = ["refused" if word == "flagged" else word for word in first.decisions]
    flagged, nobody = rows, replace(first, decisions=decisions, routed=Routed("", "", dict.fromkeys(rows, "refused")))
    if line is None or not _alike(line.loaded.manifest, asked):
        return nobody
    try:
        reasons = line.refusals(x[rows])
        rows = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        if not rows:
            return nobody
        second = await line.answer(x[rows], id, key)
    except (Refusal, DataError):
        return nobody
    logits = first.logits.copy()
    logits[rows] = second.logits
    for row, word in zip(rows, second.decisions, strict=True):
        decisions[row] = "routed" if word in ("answered", "flagged") else word
    became = {row: decisions[row] for row in flagged}
    routed = Routed(line.name, line.loaded.digest, became, second.decisions.count("flagged"))
    return replace(first, logits=logits, decisions=decisions, routed=routed)


def _alike(one: Manifest, other: Manifest) -> bool:
    """Whether they take the same numbers and mean the same classes."""
    same = (one.shape, one.classes, one.box) == (other.shape, other.classes, other.box)
    return same and (not one.class_names or not other.class_names or one.class_names == other.class_names)
