"""A walk over a pickle's opcodes that follows names on a symbolic stack and never builds an object.

The opcodes are those of Python's ``pickletools``; what they do to the stack is what ``pickle.py`` says. A real unpickler stops at
the first thing that is wrong, after having run all before it. So does this walk stop, but only where no unpickler could go
on (an unknown opcode, the end of the data): a stack or memo that holds too little becomes `UNKNOWN`, and the walk goes on.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from martensite.artifacts.scan.source import Reader, Source
from martensite.artifacts.scan.symbols import BLOB, COLLECTION, MARK, TEXT, UNKNOWN, Global, Made, State

LONGEST_NAME = 512
LONGEST_LINE = 1 << 20
LARGEST_MEMO = 1_000_000  # entries that hold a name or a constant
DEEPEST_STACK = 10_000_000
SMALL = 32  # items of a tuple or dict that are kept
KEPT = 1_000  # of each thing that a walk notes
PICKLE = -1
INTERESTING = 24  # bytes; a shorter text holds no pickle that does anything


@dataclass
class Walk:
    """What a pickle would do.

    Attributes:
        end: Offset after its last opcode.
        finished: It came to STOP.
        why: Where it broke off, in words; empty if it finished.
        sound: The stack always held what the opcodes took.
        opcodes: How many.
        imports: Every global, in order.
        calls: What it calls, with the opcode.
        builds: Objects whose state it sets.
        hidden: Imports whose name could not be followed.
        extensions: Codes of the copyreg registry.
        blobs: Offset and size of texts and bytes long enough to hold something.
        protocol: Highest that it states.
        overflow: Memo or stack grew beyond what is kept.
    """

    end: int = 0
    finished: bool = False
    why: str = ""
    sound: bool = True
    opcodes: int = 0
    imports: dict[Global, None] = field(default_factory=dict)
    calls: dict[tuple[str, Any], None] = field(default_factory=dict)
    builds: dict[Any, None] = field(default_factory=dict)
    hidden: int = 0
    extensions: dict[int, None] = field(default_factory=dict)
    blobs: list[tuple[int, int]] = field(default_factory=list)
    protocol: int = 0
    overflow: bool = False
    top: Any = UNKNOWN

    @property
    def acts(self) -> bool:
        """It imports and calls: loading it is more than reading data."""
        return bool((self.imports or self.hidden) and (self.calls or self.builds)) or bool(self.extensions)


Skip = Callable[[Made, State, Reader], int | None]


def walk(source: Source, offset: int = 0, skip: Skip | None = None) -> Walk:
    """Follow one pickle from ``offset`` on.

    Args:
        source: Where it lies.
        offset: Of its first opcode.
        skip: Asked after every BUILD: how many bytes follow that are no opcodes (joblib's arrays); `PICKLE` if a whole pickle
            follows; None if nobody knows how many.
    """
    return _Machine(source, offset, skip).run()


class _Machine:
    def __init__(self, source: Source, offset: int, skip: Skip | None, depth: int = 8) -> None:
        self.depth = depth
        self.reader = Reader(source, offset)
        self.skip = skip
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.filled, self.ahead = 0, set[int]()  # keys of the real memo: all below `filled`, and those
        self.found = Walk()

    def run(self) -> Walk:
        found, reader = self.found, self.reader
        try:
            while not found.finished and not found.why:
                start = reader.position
                code = reader.take(1)
                step = STEPS.get(code)
                if step is None:
                    found.why = f"byte {start} is no opcode"
                    break
                found.opcodes += 1
                step(self)
                if len(self.stack) > DEEPEST_STACK:
                    found.overflow, found.why = True, f"its stack holds more than {DEEPEST_STACK:,} items at byte {start}"
        except EOFError:
            found.why = f"it breaks off after byte {reader.position}"
        except ValueError:
            found.why = f"an argument near byte {reader.position} can't be read"
        found.end = reader.position
        found.top = self.stack[-1] if self.stack else UNKNOWN
        return found

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            self.found.sound = False
            return UNKNOWN
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack:
            if (item := self.stack.pop()) is MARK:
                items.reverse()
                return items
            items.append(item)
        self.found.sound = False
        items.reverse()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def memoized(self) -> int:
        """How many keys the real memo has, which is what MEMOIZE takes as the next."""
        return self.filled + len(self.ahead)

    def remember(self, key: int) -> None:
        if key == self.filled:
            self.filled += 1
            while self.ahead and self.filled in self.ahead:
                self.ahead.remove(self.filled)
                self.filled += 1
        elif key > self.filled and len(self.ahead) < LARGEST_MEMO:
            self.ahead.add(key)
        elif key > self.filled:
            self.found.overflow = True
        value = self.stack[-1] if self.stack else UNKNOWN
        if not self.stack:
            self.found.sound = False
        if value is UNKNOWN or value is COLLECTION or value is MARK or isinstance(value, State):
            self.memo.pop(key, None)
        elif len(self.memo) < LARGEST_MEMO or key in self.memo:
            self.memo[key] = value
        else:
            self.found.overflow = True

    def bring_in(self, module: Any, name: Any) -> None:
        if isinstance(module, str) and isinstance(name, str):
            thing = Global(module, name)
            if len(self.found.imports) < KEPT or thing in self.found.imports:
                self.found.imports[thing] = None
            else:
                self.found.overflow = True
            self.push(thing)
        else:
            self.found.hidden += 1
            self.push(UNKNOWN)

    def call(self, how: str, callee: Any, arguments: Any) -> None:
        _note(self.found.calls, (how, _gist(callee, arguments)))
        self.push(Made(callee, arguments) if isinstance(callee, Global) else UNKNOWN)

    def text(self, size: int) -> None:
        """Push a text or bytes of that size: its content if it may be a name."""
        start = self.reader.position
        if size >= INTERESTING and len(self.found.blobs) < KEPT:
            self.found.blobs.append((start, size))
        if size > LONGEST_NAME:
            self.reader.skip(size)
            self.push(TEXT)
        else:
            self.push(self.reader.take(size).decode("utf-8", "replace"))

    def blob(self, size: int) -> None:
        if size >= INTERESTING and len(self.found.blobs) < KEPT:
            self.found.blobs.append((self.reader.position, size))
        self.reader.skip(size)
        self.push(BLOB)

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else UNKNOWN
        _note(self.found.builds, target if isinstance(target, Global) else "state")
        if self.skip is None or not isinstance(target, Made) or not isinstance(state, State):
            return
        count = self.skip(target, state, self.reader)
        if count == PICKLE:
            count = self.inner()
        if count is None:
            self.found.why = f"the size of the array at byte {self.reader.position} is not known"
        else:
            self.reader.skip(count)

    def inner(self) -> int | None:
        """Size of the whole pickle that follows; what it does is noted as this one's."""
        start = self.reader.position
        other = _Machine(self.reader.source, start, self.skip, self.depth - 1).run() if self.depth else Walk()
        for mine, theirs in (
            (self.found.imports, other.imports), (self.found.calls, other.calls), (self.found.builds, other.builds),
            (self.found.extensions, other.extensions),
        ):  # fmt: skip
            mine.update(theirs)  # type: ignore[arg-type]
        self.found.hidden += other.hidden
        self.found.blobs += other.blobs
        return other.end - start if other.finished else None


def _note(things: dict[Any, None], thing: Any) -> None:
    if len(things) < KEPT:
        things[thing] = None


def _gist(callee: Any, arguments: Any) -> Any:
    """The callee, and whether its first argument is bytes that lie in the file."""
    if not isinstance(callee, Global):
        return callee if callee in (UNKNOWN, BLOB, TEXT) else UNKNOWN
    first = arguments[0] if isinstance(arguments, tuple) and arguments else None
    return callee, first is BLOB or (isinstance(first, Made) and str(first.by) == "_codecs.encode")


def _little(size: int, signed: bool = False) -> Callable[[_Machine], int]:
    def read(machine: _Machine) -> int:
        return int.from_bytes(machine.reader.take(size), "little", signed=signed)

    return read


def _line(machine: _Machine) -> bytes:
    return machine.reader.line(LONGEST_LINE)


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value)


def _number(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(read(machine))


def _text(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.text(read(machine))


def _blob(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.blob(read(machine))


def _proto(machine: _Machine) -> None:
    machine.found.protocol = max(machine.found.protocol, machine.reader.take(1)[0])


def _int(machine: _Machine) -> None:
    line = _line(machine).rstrip(b"L")
    machine.push(int(line) if line.lstrip(b"-").isdigit() and len(line) < 20 else UNKNOWN)


def _long(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        size = read(machine)
        if size <= 8:
            machine.push(int.from_bytes(machine.reader.take(size), "little", signed=True))
        else:
            machine.reader.skip(size)
            machine.push(UNKNOWN)

    return step


def _quoted(machine: _Machine) -> None:
    """STRING: a Python literal, of which escapes can write any byte."""
    start = machine.reader.position
    line = _line(machine)
    if len(line) >= INTERESTING and len(machine.found.blobs) < KEPT:
        machine.found.blobs.append((start + 1, len(line) - 2))
    body = line.strip()[1:-1]
    if len(body) > LONGEST_NAME:
        machine.push(TEXT)
    else:
        machine.push(body.decode("unicode_escape", "replace") if b"\\" in body else body.decode("utf-8", "replace"))


def _unicode(machine: _Machine) -> None:
    start = machine.reader.position
    line = _line(machine)
    if len(line) >= INTERESTING and len(machine.found.blobs) < KEPT:
        machine.found.blobs.append((start, len(line)))
    machine.push(TEXT if len(line) > LONGEST_NAME else line.decode("raw_unicode_escape", "replace"))


def _global(machine: _Machine) -> None:
    module = _line(machine).decode("utf-8", "replace")
    machine.bring_in(module, _line(machine).decode("utf-8", "replace"))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.bring_in(module, name)


def _reduce(machine: _Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call("REDUCE", callee, arguments)


def _newobj(machine: _Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call("NEWOBJ", callee, arguments)


def _newobj_ex(machine: _Machine) -> None:
    machine.pop()
    arguments, callee = machine.pop(), machine.pop()
    machine.call("NEWOBJ_EX", callee, arguments)


def _inst(machine: _Machine) -> None:
    module = _line(machine).decode("utf-8", "replace")
    machine.bring_in(module, _line(machine).decode("utf-8", "replace"))
    callee = machine.stack.pop()
    machine.call("INST", callee, tuple(machine.pop_mark()[:SMALL]))


def _obj(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.call("OBJ", items[0] if items else UNKNOWN, tuple(items[1:SMALL]))


def _extension(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        _note(machine.found.extensions, read(machine))
        machine.push(UNKNOWN)

    return step


def _tuple(count: int | None) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        items = machine.pop_mark() if count is None else [machine.pop() for _ in range(count)][::-1]
        simple = len(items) <= SMALL and not any(
            isinstance(item, tuple) and any(type(i) is tuple for i in item) for item in items
        )
        machine.push(tuple(items) if simple else COLLECTION)

    return step


def _collect(machine: _Machine) -> None:
    machine.pop_mark()
    machine.push(COLLECTION)


def _forget(machine: _Machine) -> None:
    machine.pop_mark()


def _dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.push(State({}))
    _fill(machine, items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine, [key, value])


def _fill(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1] if machine.stack else UNKNOWN
    if isinstance(target, Global):
        _note(machine.found.builds, target)
    if isinstance(target, State):
        for key, value in zip(items[::2], items[1::2], strict=False):
            if isinstance(key, str) and len(target.items) < SMALL:
                target.items[key] = value


def _get(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.memo.get(read(machine), UNKNOWN))


def _put(read: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.remember(read(machine))


def _memoize(machine: _Machine) -> None:
    machine.remember(machine.memoized())


def _append(machine: _Machine) -> None:
    machine.pop()


def _dup(machine: _Machine) -> None:
    machine.push(machine.stack[-1] if machine.stack else UNKNOWN)


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.found.sound = False


def _stop(machine: _Machine) -> None:
    if not machine.stack:
        machine.found.sound = False
    machine.found.finished = True


def _nothing(machine: _Machine) -> None:
    """READONLY_BUFFER leaves the stack as it is."""


def _line_of_something(machine: _Machine) -> None:
    _line(machine)
    machine.push(UNKNOWN)


def _binfloat(machine: _Machine) -> None:
    machine.reader.skip(8)
    machine.push(UNKNOWN)


def _binpersid(machine: _Machine) -> None:
    machine.pop()
    machine.push(UNKNOWN)


def _decimal(machine: _Machine) -> int:
    return int(_line(machine)[:20])


U1, U2, U4, U8, I4 = _little(1), _little(2), _little(4), _little(8), _little(4, signed=True)

BY_NAME: dict[str, Callable[[_Machine], None]] = {
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
    "REDUCE": _reduce, "NEWOBJ": _newobj, "NEWOBJ_EX": _newobj_ex, "BUILD": _Machine.build,
    "EXT1": _extension(U1), "EXT2": _extension(U2), "EXT4": _extension(I4),
    "PERSID": _line_of_something,
    "BINPERSID": _binpersid,
}  # fmt: skip


STEPS = {op.code.encode("latin-1"): BY_NAME[op.name] for op in pickletools.opcodes}
