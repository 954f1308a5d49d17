"""What a report says of a model's defences: the figure of an attacker who doesn't know them beside that of one who does."""

from martensite.core.config import Config
from martensite.evaluation.rate import Rate


class DefenceRecord(Config):
    """A defended model, attacked without and with knowledge of the defence.

    Attributes:
        names: What stands around the model, in order.
        naive: Accuracy under an attack made on the bare model. It says how the defence surprises attackers, not how robust it is.
        naive_attack: Which; None where none ran.
        adaptive: How attacks were adapted, in words; empty: they were not.
        refused: Clean inputs on which an alarm rings or that are abstained on; None: the model refuses nothing.
        false_alarms: Share of clean inputs on which the detectors may ring; None without detectors.
    """

    names: tuple[str, ...]
    naive: Rate | None
    naive_attack: str | None
    adaptive: tuple[str, ...]
    refused: Rate | None = None
    false_alarms: float | None = None
