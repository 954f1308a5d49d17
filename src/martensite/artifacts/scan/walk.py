"""A walk over a pickle's opcodes that follows names on a symbolic stack and never builds an object.

The opcodes are those of Python's ``pickletools``; what they do to the stack is what ``pickle.py`` says. A real unpickler stops at
the first thing that is wrong, after having run all before it. So does this walk stop, but only where no unpickler could go
on (an unknown opcode, the end of the data): a stack or memo that holds too little becomes `UNKNOWN`, and the walk goes on.
"""

from martensite.artifacts.scan.machine import Machine, Skip
from martensite.artifacts.scan.record import Walk
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.steps import STEPS

__all__ = ["Walk", "walk"]


def walk(source: Source, offset: int = 0, skip: Skip | None = None) -> Walk:
    """Follow one pickle from ``offset`` on.

    Args:
        source: Where it lies.
        offset: Of its first opcode.
        skip: Asked after every BUILD: how many bytes follow that are no opcodes (joblib's arrays); -1 if a whole pickle
            follows; None if nobody knows how many.
    """
    return Machine(source, offset, STEPS, skip).run()
