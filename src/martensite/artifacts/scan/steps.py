"""What every opcode does to the machine, by the names of Python's ``pickletools``; their meaning is that of ``pickle.py``."""

import pickletools
from collections.abc import Callable
from typing import Any

from martensite.artifacts.scan.joblib_arrays import may_alias
from martensite.artifacts.scan.machine import LONGEST_NAME, SMALL, Machine, note
from martensite.artifacts.scan.symbols import BLOB, COLLECTION, MARK, TEXT, UNKNOWN, Global, State

LONGEST_LINE = 1 << 20


def _little(size: int, signed: bool = False) -> Callable[[Machine], int]:
    def read(machine: Machine) -> int:
        return int.from_bytes(machine.reader.take(size), "little", signed=signed)

    return read


def _line(machine: Machine) -> bytes:
    return machine.reader.line(LONGEST_LINE)


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


def _number(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(read(machine))


def _text(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.text(read(machine))


def _blob(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.blob(read(machine))


def _proto(machine: Machine) -> None:
    machine.found.protocol = max(machine.found.protocol, machine.reader.take(1)[0])


def _int(machine: Machine) -> None:
    line = _line(machine).rstrip(b"L")
    machine.push(int(line) if line.lstrip(b"-").isdigit() and len(line) < 20 else UNKNOWN)


def _long(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        size = read(machine)
        if size <= 8:
            machine.push(int.from_bytes(machine.reader.take(size), "little", signed=True))
        else:
            machine.reader.skip(size)
            machine.push(UNKNOWN)

    return step


def _quoted(machine: Machine) -> None:
    """STRING: a Python literal, of which escapes can write any byte."""
    start = machine.reader.position
    line = _line(machine)
    machine.note_blob(start + 1, len(line) - 2)
    body = line.strip()[1:-1]
    if len(body) > LONGEST_NAME:
        machine.push(TEXT)
    else:
        machine.push(body.decode("unicode_escape", "replace") if b"\\" in body else body.decode("utf-8", "replace"))


def _unicode(machine: Machine) -> None:
    start = machine.reader.position
    line = _line(machine)
    machine.note_blob(start, len(line))
    machine.push(TEXT if len(line) > LONGEST_NAME else line.decode("raw_unicode_escape", "replace"))


def _global(machine: Machine) -> None:
    module = _line(machine).decode("utf-8", "replace")
    machine.bring_in(module, _line(machine).decode("utf-8", "replace"))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.bring_in(module, name)


def _reduce(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call("REDUCE", callee, arguments)


def _newobj(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call("NEWOBJ", callee, arguments)


def _newobj_ex(machine: Machine) -> None:
    machine.pop()
    arguments, callee = machine.pop(), machine.pop()
    machine.call("NEWOBJ_EX", callee, arguments)


def _inst(machine: Machine) -> None:
    module = _line(machine).decode("utf-8", "replace")
    machine.bring_in(module, _line(machine).decode("utf-8", "replace"))
    callee = machine.stack.pop()
    machine.call("INST", callee, tuple(machine.pop_mark()[:SMALL]))


def _obj(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.call("OBJ", items[0] if items else UNKNOWN, tuple(items[1:SMALL]))


def _extension(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        note(machine.found.extensions, read(machine))
        machine.push(UNKNOWN)

    return step


def _tuple(count: int | None) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        items = machine.pop_mark() if count is None else [machine.pop() for _ in range(count)][::-1]
        simple = len(items) <= SMALL and all(_shallow(item, 2) for item in items)
        machine.push(tuple(items) if simple else COLLECTION)

    return step


def _shallow(item: Any, levels: int) -> bool:
    """Whether tuples lie at most so deep in it."""
    return type(item) is not tuple or (levels > 0 and all(_shallow(inner, levels - 1) for inner in item))


def _collect(machine: Machine) -> None:
    machine.pop_mark()
    machine.push(COLLECTION)


def _forget(machine: Machine) -> None:
    machine.pop_mark()


def _dict(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push(State({}))
    _fill(machine, items)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine, [key, value])


def _fill(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1] if machine.stack else UNKNOWN
    if isinstance(target, Global):
        note(machine.found.builds, target)
    if target is UNKNOWN or may_alias(target):  # perhaps a dict that is known by another way
        machine.vague = True
    if isinstance(target, State):
        for key, value in zip(items[::2], items[1::2], strict=False):
            if isinstance(key, str) and (key in target.items or len(target.items) < SMALL):
                target.items[key] = value
            elif target.certain:
                target.certain = False


def _get(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.memo.get(read(machine), UNKNOWN))


def _put(read: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.remember(read(machine))


def _memoize(machine: Machine) -> None:
    machine.remember(machine.memoized())


def _append(machine: Machine) -> None:
    machine.pop()


def _dup(machine: Machine) -> None:
    machine.push(machine.stack[-1] if machine.stack else UNKNOWN)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.found.sound = False


def _stop(machine: Machine) -> None:
    if not machine.stack:
        machine.found.sound = False
    machine.found.finished = True


def _nothing(machine: Machine) -> None:
    """READONLY_BUFFER leaves the stack as it is."""


def _line_of_something(machine: Machine) -> None:
    _line(machine)
    machine.push(UNKNOWN)


def _binfloat(machine: Machine) -> None:
    machine.reader.skip(8)
    machine.push(UNKNOWN)


def _binpersid(machine: Machine) -> None:
    machine.pop()
    machine.push(UNKNOWN)


def _decimal(machine: Machine) -> int:
    return int(_line(machine)[:20])


U1, U2, U4, U8, I4 = _little(1), _little(2), _little(4), _little(8), _little(4, signed=True)

BY_NAME: dict[str, Callable[[Machine], None]] = {
    "PROTO": _proto, "FRAME": lambda machine: machine.reader.skip(8), "STOP": _stop, "MARK": _constant(MARK),
    "INT": _int, "LONG": _int, "BININT": _number(I4), "BININT1": _number(U1), "BININT2": _number(U2),
    "LONG1": _long(U1), "LONG4": _long(U4),
    "FLOAT": _line_of_something, "BINFLOAT": _binfloat,
    "NONE": _constant(None), "NEWTRUE": _constant(True), "NEWFALSE": _constant(False),
    "STRING": _quoted, "UNICODE": _unicode, "BINSTRING": _text(U4), "SHORT_BINSTRING": _text(U1),
    "BINUNICODE": _text(U4), "SHORT_BINUNICODE": _text(U1), "BINUNICODE8": _text(U8),
    "BINBYTES": _blob(U4), "SHORT_BINBYTES": _blob(U1), "BINBYTES8": _blob(U8), "BYTEARRAY8": _blob(U8),
    "NEXT_BUFFER": _constant(BLOB), "READONLY_BUFFER": _nothing,
    "EMPTY_LIST": _constant(COLLECTION), "EMPTY_SET": _constant(COLLECTION), "EMPTY_TUPLE": _constant(()),
    "EMPTY_DICT": lambda machine: machine.push(State({})),
    "LIST": _collect, "FROZENSET": _collect, "DICT": _dict,
    "TUPLE": _tuple(None), "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "APPEND": _append, "APPENDS": _forget, "ADDITEMS": _forget,
    "SETITEM": _set_item, "SETITEMS": lambda machine: _fill(machine, machine.pop_mark()),
    "GET": _get(_decimal), "BINGET": _get(U1), "LONG_BINGET": _get(U4),
    "PUT": _put(_decimal), "BINPUT": _put(U1), "LONG_BINPUT": _put(U4), "MEMOIZE": _memoize,
    "POP": _pop, "POP_MARK": _forget, "DUP": _dup,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "INST": _inst, "OBJ": _obj,
    "REDUCE": _reduce, "NEWOBJ": _newobj, "NEWOBJ_EX": _newobj_ex, "BUILD": Machine.build,
    "EXT1": _extension(U1), "EXT2": _extension(U2), "EXT4": _extension(I4),
    "PERSID": _line_of_something,
    "BINPERSID": _binpersid,
}  # fmt: skip


STEPS = {op.code.encode("latin-1"): BY_NAME[op.name] for op in pickletools.opcodes}
