"""Arrays that joblib writes between a pickle's opcodes: how many bytes come after a wrapper's BUILD, as joblib itself reads them.

Who skips more or less than joblib does takes opcodes for data, or data for opcodes. So a size is known only where all that joblib
looks at is a constant in the pickle; everything else ends the walk, and an honest file has nothing else.
"""

import math
import re
from typing import TYPE_CHECKING, Any

from martensite.artifacts.scan.symbols import UNKNOWN, Global, Made, State

if TYPE_CHECKING:
    from martensite.artifacts.scan.machine import Machine

WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
PICKLE = -1  # a whole pickle follows
# Functions among what is harmless that give an instance of the class that is their first argument, and those that may give one of
# their arguments itself, under which name it can be changed unseen.
OF_CLASS = {"_reconstructor", "__newobj__", "__newobj_ex__", "_reconstruct", "_mareconstruct", "_new_Index", "_new_DatetimeIndex",
            "newObj"}  # fmt: skip
ALIASES = {"restore_type_tag", "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "scalar", "encode",
           "_rebuild_from_type_v2"}  # fmt: skip
PLAIN, OBJECT, TEXT, STRUCT = 0, 63, 8, 16  # flags of dtypes (numpy's ndarraytypes.h): which hold objects, and so are pickled


def following(machine: "Machine", target: Any, state: Any) -> int | None:
    """Bytes of the array after this BUILD: 0 if the target is no wrapper, `PICKLE` for objects, None if it can't be told."""
    if not machine.wrapped:
        return 0
    made = _class_of(target)
    if made is None:
        return None
    if str(made) != WRAPPER:
        return 0 if made.module.split(".")[0] != "joblib" else None
    if not isinstance(state, State) or not state.certain or machine.vague or machine.state_of(target) is not UNKNOWN:
        return None  # what joblib wrote is made once, of constants
    shape, size = state.items.get("shape"), _item_size(machine, state.items.get("dtype"))
    if size == PICKLE:
        return PICKLE
    if size is None or not isinstance(shape, tuple) or not all(type(axis) is int and 0 <= axis < 2**62 for axis in shape):
        return None
    if "numpy_array_alignment_bytes" not in state.items and not _bare(machine, target):
        return None  # its constructor may have set a default
    padding = 0
    if state.items.get("numpy_array_alignment_bytes") is not None:
        padding = machine.reader.take(1)[0]
    return padding + math.prod(shape) * size


def may_alias(value: Any) -> bool:
    """Whether this may be another name of something that is known already."""
    return isinstance(value, Made) and value.by.name in ALIASES


def _class_of(target: Any) -> Global | None:
    """Of what class the target is; None: nobody knows."""
    if isinstance(target, Global):
        return target
    if not isinstance(target, Made) or may_alias(target):
        return None
    if target.by.name not in OF_CLASS:
        return target.by
    first = target.arguments[0] if isinstance(target.arguments, tuple) and target.arguments else None
    return first if isinstance(first, Global) else None


def _bare(machine: "Machine", target: Made) -> bool:
    """Whether it has no attribute yet: no constructor ran, and nothing else had it in its hands."""
    untouched = target.by.name in OF_CLASS or target.arguments == ()
    return untouched and not any(one.name in ALIASES for one in machine.found.imports)


def _item_size(machine: "Machine", dtype: object) -> int | None:
    """Bytes of one item; `PICKLE` for objects; None if it can't be told."""
    if not isinstance(dtype, Made) or str(dtype.by) != "numpy.dtype" or not isinstance(dtype.arguments, tuple):
        return None
    code = dtype.arguments[0] if dtype.arguments else None
    if not isinstance(code, str) or (match := re.fullmatch(r"[<>|=]?([a-zA-Z])(\d*)", code)) is None:
        return None
    kind, size, state = match[1], int(match[2] or 0), machine.state_of(dtype)
    if not isinstance(state, tuple) or len(state) not in (8, 9) or state[2] is not None:
        return None  # numpy sets a state on every dtype that it pickles; subarrays aren't followed
    flags = state[7]
    if kind in "SUV":  # their state says how long they are
        return state[5] if type(state[5]) is int and state[5] >= 0 and flags in (PLAIN, TEXT, STRUCT) else None
    if kind == "O":
        return PICKLE if flags == OBJECT else None
    return size if size and kind != "a" and flags == PLAIN else None
