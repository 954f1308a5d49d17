"""The symbolic machine that a pickle's opcodes drive: a stack, a memo, and a record of what they would do."""

from collections.abc import Callable, Mapping
from typing import Any

from martensite.artifacts.scan.joblib_arrays import PICKLE, may_alias
from martensite.artifacts.scan.record import Walk
from martensite.artifacts.scan.source import Reader, Source
from martensite.artifacts.scan.symbols import BLOB, COLLECTION, MARK, TEXT, UNKNOWN, Global, Made, State

LONGEST_NAME = 512
LARGEST_MEMO = 1_000_000  # entries that hold a name or a constant
DEEPEST_STACK = 10_000_000
SMALL = 32  # items of a tuple or dict that are kept
KEPT = 1_000  # of each thing that a walk notes
KEPT_KINDS = (str, int, tuple, Global, Made)
COMMON = 300  # bytes that the longest of the common opcodes may take
INTERESTING = 24  # bytes; a shorter text holds no pickle that does anything


Skip = Callable[["Machine", Any, Any], int | None]
Step = Callable[["Machine"], None]


class Machine:
    """The symbolic stack and memo of one pickle.

    Args:
        source: Where it lies.
        offset: Of its first opcode.
        steps: What each opcode does.
        skip: See `walk`.
    """

    def __init__(self, source: Source, offset: int, steps: Mapping[bytes, Step], skip: Skip | None) -> None:
        self.steps = steps
        self.reader = Reader(source, offset)
        self.skip = skip
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.filled, self.ahead = 0, set[int]()  # keys of the real memo: all below `filled`, and those
        self.wrapped = False  # it imports something of joblib's
        self.vague = False  # something was changed, and nobody knows what
        self.states: dict[int, tuple[Made, Any]] = {}  # of dtypes, by identity
        self.found = Walk()

    def run(self) -> Walk:
        found, reader = self.found, self.reader
        try:
            while not found.finished and not found.why:
                self.run_common()
                start = reader.position
                step = self.steps.get(reader.take(1))
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

    def run_common(self) -> None:
        """The opcodes that most of a large pickle consists of, straight from the buffer; ends before any other.

        They mean the same as in `steps.py`, and a test walks the same pickles with and without them.
        """
        buffer, place = self.reader.buffered()
        last, stack, memo, ahead = len(buffer) - COMMON, self.stack, self.memo, self.ahead
        push, opcodes, filled = stack.append, 0, self.filled
        while place < last and len(stack) <= DEEPEST_STACK:
            code = buffer[place]
            if code == 0x94 and stack and not ahead:  # MEMOIZE
                value = stack[-1]
                if (
                    type(value) is str
                    or type(value) is Global
                    or type(value) is Made
                    or type(value) is tuple
                    or type(value) is int
                ):
                    if len(memo) >= LARGEST_MEMO:
                        break
                    memo[filled] = value
                elif value is TEXT or value is BLOB:
                    break
                filled += 1
                place += 1
            elif code == 0x4B:  # BININT1
                push(buffer[place + 1])
                place += 2
            elif code == 0x8C and buffer[place + 1] < INTERESTING:  # SHORT_BINUNICODE
                end = place + 2 + buffer[place + 1]
                push(buffer[place + 2 : end].decode("utf-8", "replace"))
                place = end
            elif code == 0x47:  # BINFLOAT
                push(UNKNOWN)
                place += 9
            elif code == 0x28:  # MARK
                push(MARK)
                place += 1
            elif code == 0x5D:  # EMPTY_LIST
                push(COLLECTION)
                place += 1
            elif code == 0x4D:  # BININT2
                push(buffer[place + 1] | buffer[place + 2] << 8)
                place += 3
            elif code == 0x4A:  # BININT
                push(int.from_bytes(buffer[place + 1 : place + 5], "little", signed=True))
                place += 5
            elif code == 0x68:  # BINGET
                push(memo.get(buffer[place + 1], UNKNOWN))
                place += 2
            elif code == 0x65:  # APPENDS
                while stack:
                    if stack.pop() is MARK:
                        break
                else:
                    self.found.sound = False
                place += 1
            elif code == 0x4E:  # NONE
                push(None)
                place += 1
            else:
                break
            opcodes += 1
        self.filled = filled
        self.found.opcodes += opcodes
        self.reader.go_on(place)

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
            self.wrapped = self.wrapped or module.split(".", 1)[0] == "joblib"
            if self.found.sound:
                note(self.found.reached, thing)
            if len(self.found.imports) < KEPT or thing in self.found.imports:
                self.found.imports[thing] = None
            else:
                self.found.overflow = True
            self.push(thing)
        elif any(isinstance(one, Made) and one.by.module.split(".")[0] in ("numpy", "joblib") for one in (module, name)):
            self.found.why = f"what it imports at byte {self.reader.position} is no name"  # every unpickler stops here
        else:
            self.found.hidden += 1
            made = [one.by.module for one in (module, name) if isinstance(one, Made)]
            self.found.computed += any(one in ("builtins", "_codecs") for one in made)
            self.push(UNKNOWN)

    def act(self) -> None:
        """Something happens here, unless an unpickler stopped before."""
        if self.found.sound and (self.found.imports or self.found.hidden or self.found.extensions):
            self.found.acted = True

    def call(self, how: str, callee: Any, arguments: Any) -> None:
        self.act()
        note(self.found.calls, (how, _gist(callee, arguments)))
        self.push(Made(callee, arguments) if isinstance(callee, Global) else UNKNOWN)

    def text(self, size: int) -> None:
        """Push a text or bytes of that size: its content if it may be a name."""
        self.note_blob(self.reader.position, size)
        if size > LONGEST_NAME:
            self.reader.skip(size)
            self.push(TEXT)
        else:
            self.push(self.reader.take(size).decode("utf-8", "replace"))

    def note_blob(self, start: int, size: int) -> None:
        """Something long enough to hold a pickle."""
        if size >= INTERESTING and len(self.found.blobs) < KEPT:
            self.found.blobs.append((start, size))

    def blob(self, size: int) -> None:
        self.note_blob(self.reader.position, size)
        self.reader.skip(size)
        self.push(BLOB)

    def build(self) -> None:
        state = self.pop()
        self.act()
        target = self.stack[-1] if self.stack else UNKNOWN
        note(self.found.builds, target if isinstance(target, Global) else "state")
        if isinstance(target, Made) and target.by.name == "dtype" and len(self.states) < LARGEST_MEMO:
            self.states[id(target)] = (target, state)
        if target is UNKNOWN or isinstance(target, State) or may_alias(target):
            self.vague = True
        count = self.skip(self, target, state) if self.skip is not None else 0
        if self.wrapped and isinstance(target, Made) and len(self.states) < LARGEST_MEMO:
            self.states.setdefault(id(target), (target, state))
        if count == 0:
            return
        self.found.arrays += 1
        if count == PICKLE:
            count = self.inner()
        if count is None:
            self.found.why = f"the size of the array at byte {self.reader.position} is not known"
        else:
            self.reader.skip(count)

    def state_of(self, made: Made) -> Any:
        """What BUILD set on it last."""
        return self.states.get(id(made), (None, UNKNOWN))[1]

    def inner(self) -> int | None:
        """Size of the whole pickle that follows, which joblib gives to a plain unpickler; what it does is noted as this one's."""
        start = self.reader.position
        other = Machine(self.reader.source, start, self.steps, None).run()
        for mine, theirs in (
            (self.found.imports, other.imports), (self.found.calls, other.calls), (self.found.builds, other.builds),
            (self.found.extensions, other.extensions),
        ):  # fmt: skip
            mine.update(theirs)  # type: ignore[arg-type]
        self.found.hidden += other.hidden
        self.found.blobs += other.blobs
        return other.end - start if other.finished else None


def note(things: dict[Any, None], thing: Any) -> None:
    if len(things) < KEPT:
        things[thing] = None


def _gist(callee: Any, arguments: Any) -> Any:
    """The callee, and whether its first argument is bytes that lie in the file."""
    if not isinstance(callee, Global):
        return callee if callee in (UNKNOWN, BLOB, TEXT) else UNKNOWN
    first = arguments[0] if isinstance(arguments, tuple) and arguments else None
    return callee, first is BLOB or (isinstance(first, Made) and str(first.by) == "_codecs.encode" and _as_it_is(first))


def _as_it_is(encoded: Made) -> bool:
    """Whether the bytes are the text's characters, one for one; other codecs make others of them."""
    return isinstance(encoded.arguments, tuple) and len(encoded.arguments) == 2 and encoded.arguments[1] in ("latin1", "latin-1")
