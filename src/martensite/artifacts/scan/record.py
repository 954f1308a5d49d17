"""What a walk over a pickle notes."""

from dataclasses import dataclass, field
from typing import Any

from martensite.artifacts.scan.symbols import UNKNOWN, Global


@dataclass
class Walk:
    """What a pickle would do.

    Attributes:
        end: Offset after its last opcode.
        finished: It came to STOP.
        why: Where it broke off, in words; empty if it finished.
        sound: The stack always held what the opcodes took.
        acted: It called or built while it was sound: a real unpickler would have come that far. To take from the registry is
            no act yet: of all weights, one array in a hundred begins like that.
        opcodes: How many.
        imports: Every global, in order.
        reached: Those that a real unpickler would have come to: imported while the walk was sound.
        calls: What it calls, with the opcode.
        builds: Objects whose state it sets.
        hidden: Imports whose name could not be followed.
        computed: Those among them of which a part was made by a call that can give a text.
        extensions: Codes of the copyreg registry.
        blobs: Offset and size of texts and bytes long enough to hold something.
        arrays: How many arrays lie between the opcodes, for who loads it as joblib does.
        protocol: Highest that it states.
        overflow: Memo or stack grew beyond what is kept.
    """

    end: int = 0
    finished: bool = False
    why: str = ""
    sound: bool = True
    acted: bool = False
    opcodes: int = 0
    imports: dict[Global, None] = field(default_factory=dict)
    reached: dict[Global, None] = field(default_factory=dict)
    calls: dict[tuple[str, Any], None] = field(default_factory=dict)
    builds: dict[Any, None] = field(default_factory=dict)
    hidden: int = 0
    computed: int = 0
    extensions: dict[int, None] = field(default_factory=dict)
    blobs: list[tuple[int, int]] = field(default_factory=list)
    arrays: int = 0
    protocol: int = 0
    overflow: bool = False
    top: Any = UNKNOWN

    @property
    def acts(self) -> bool:
        """It imports, or takes from the registry, and calls: loading it is more than reading data."""
        return bool((self.imports or self.hidden or self.extensions) and (self.calls or self.builds))
