"""Is the log as it was recorded? Every hash, every link, the payloads that are kept, and all checkpoints that are at hand.

The chain alone shows what was edited, removed or reordered in its middle. That the end was cut, or everything from some record on
written anew with fresh hashes, only a checkpoint shows.
"""

import multiprocessing
import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from martensite.artifacts.audit.checkpoint import Checkpoint, refused
from martensite.artifacts.audit.database import Database
from martensite.artifacts.audit.entry import NOTHING, payload_digest
from martensite.artifacts.audit.guards import missing
from martensite.artifacts.audit.merkle import Frontier
from martensite.artifacts.audit.scan import HEIGHT, Flaw, Stretch, moved, scan_stretch
from martensite.artifacts.audit.tables import checkpoints as stored
from martensite.artifacts.audit.tables import payloads, records
from martensite.artifacts.signing.keys import PublicKey
from martensite.artifacts.signing.trust import Trust
from martensite.core.errors import SignatureError
from martensite.core.events import Event, Listener, silent

STRETCH = 1 << HEIGHT
PATIENCE = 2.0  # seconds before progress is told


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        log: Hash of the first record; empty where there is none.
        size: Records.
        root: Of the Merkle tree, in hex; empty where there are flaws.
        flaws: Everything that is not as it was recorded, the first first.
        checkpoints: How many were compared.
        signed: How many of these are signed by someone who is trusted with it.
        latest: Records up to the newest such checkpoint; those after it could be cut or rewritten unseen.
        seconds: Wall time.
    """

    log: str
    size: int
    root: str
    flaws: tuple[Flaw, ...]
    checkpoints: int
    signed: int
    latest: int
    seconds: float

    @property
    def whole(self) -> bool:
        """Nothing was found."""
        return not self.flaws


def verify_log(
    database: Database,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    by: PublicKey | Trust | None = None,
    workers: int = 1,
    listener: Listener = silent,
) -> Verification:
    """Verify a log.

    Args:
        database: Where it lies.
        checkpoints: Kept elsewhere; those that the log holds itself are compared, too.
        by: Whose checkpoints count; None: all are compared, and none is believed.
        workers: Processes. More than one are started afresh (spawned), so a script that asks for them guards its main module.
        listener: Gets an event a stretch, if it takes longer than two seconds.

    Raises:
        ArtifactError: there is no log, or it can't be read.
        StorageError: it can't be reached.
    """
    began = time.monotonic()
    with database.reading() as connection:
        count, lowest, size = connection.execute(
            select(func.count(), func.min(records.c.number), func.max(records.c.number))
        ).one()
        lowest, size = lowest or 1, size or 0
        own = list(connection.scalars(select(stored.c.bundle).order_by(stored.c.size)))
        flaws = [
            Flaw(0, "guard", f"the database no longer refuses changes: the trigger {name} is gone")
            for name in missing(connection)
        ]
        flaws += _payload_flaws(connection)
    every, unreadable = parsed(own)
    every = list(dict.fromkeys([*checkpoints, *every]))
    gapless = lowest == 1 and size == count
    starts = range(1, size + 1, STRETCH) if gapless else range(min(lowest, 1), size + 1, max(size + 1 - min(lowest, 1), 1))
    spans = [(start, min(start + starts.step - 1, size)) for start in starts]
    chain = Chain({one.size for one in every})
    with _each(database, spans, min(workers, len(spans))) as found:
        for done, stretch in enumerate(found, 1):
            chain.add(stretch)
            if time.monotonic() - began > PATIENCE:
                listener(Event("verify", min(done * STRETCH, size), size, "record"))
    return conclude(chain, size, [*flaws, *unreadable], every, by, began)


def conclude(
    chain: "Chain", size: int, flaws: list[Flaw], checkpoints: list[Checkpoint], by: PublicKey | Trust | None, began: float
) -> Verification:
    """All that was found, with what the checkpoints say to it."""
    against = refused(checkpoints, by)
    flaws = [*chain.flaws, *flaws]
    if not size:
        flaws.append(Flaw(1, "missing", "the log holds no record: all were removed"))
    for one in sorted(checkpoints, key=lambda one: one.size):
        if one in against:
            flaws.append(Flaw(one.size, "checkpoint", f"a checkpoint of {one.size} records does not count: {against[one]}"))
        elif one.size > size:
            flaws.append(Flaw(size + 1, "truncated", chain.cut(one, size)))
        elif reason := chain.judge(one):
            flaws.append(Flaw(one.size, "rewritten", reason))
    believed = [one for one in checkpoints if by is not None and one not in against]
    return Verification(
        log=chain.log,
        size=size,
        root="" if flaws else chain.frontier.root.hex(),
        flaws=tuple(sorted(flaws, key=lambda flaw: flaw.number)),
        checkpoints=len(checkpoints),
        signed=len(believed),
        latest=max((one.size for one in believed), default=0),
        seconds=time.monotonic() - began,
    )


class Chain:
    """Stretches put together, in their order.

    Args:
        sizes: At which sizes to note the tree's root.
    """

    def __init__(self, sizes: set[int]) -> None:
        self.frontier, self.roots, self.flaws, self.log = Frontier(), dict[int, str](), list[Flaw](), ""
        self._sizes, self._last, self._whole = sorted(sizes), NOTHING, True
        self._agreed: set[int] = set()

    def add(self, stretch: Stretch) -> None:
        """The next one."""
        self.flaws += moved(stretch.flaws, stretch.odd)
        if stretch.follows != self._last and not any(flaw.number == stretch.first for flaw in stretch.flaws):
            where = max(stretch.first - 1, 1)
            self.flaws.append(
                Flaw(where, "rewritten", f"record {where} was replaced: record {stretch.first} followed another one")
            )
        self._last = stretch.last
        if not self._whole:
            return
        leaves = [stretch.leaves[place : place + 32] for place in range(0, len(stretch.leaves), 32)]
        if not self.log and leaves:
            self.log = leaves[0].hex()
        before = self.frontier.size
        for size in self._sizes[bisect_left(self._sizes, before + 1) : bisect_left(self._sizes, before + len(leaves) + 1)]:
            until = deepcopy(self.frontier)
            until.extend(leaves[: size - before])
            self.roots[size] = until.root.hex()
        if stretch.whole and stretch.root:
            self.frontier.add(stretch.root, HEIGHT)
        else:
            self.frontier.extend(leaves)
        self._whole = stretch.whole

    def cut(self, one: Checkpoint, size: int) -> str:
        """What a checkpoint of more records than there are says."""
        if one.log != self.log:
            return self._another(one)
        many = f"records {size + 1} to {one.size} are" if one.size > size + 1 else f"record {one.size} is"
        return f"{many} missing: the log was cut after the checkpoint of {one.created:%Y-%m-%d %H:%M}, which has {one.size}"

    def judge(self, one: Checkpoint) -> str:
        """Why the log is not the one that the checkpoint speaks of, or ``""``."""
        when = f"{one.created:%Y-%m-%d %H:%M}"
        if one.log != self.log:
            return self._another(one)
        if one.size not in self.roots:  # after a gap, which is a flaw of its own
            return f"the checkpoint of {when}, of {one.size} records, can't be compared: a record before that can't be read"
        if self.roots[one.size] != one.root:
            before = max((other for other in self._agreed if other < one.size), default=0)
            return f"one of the records {before + 1} to {one.size} was rewritten: the checkpoint of {when} has another root"
        self._agreed.add(one.size)
        return ""

    def _another(self, one: Checkpoint) -> str:
        when = f"{one.created:%Y-%m-%d %H:%M}"
        return f"the checkpoint of {when} is of the log {one.log[:12]}: this is another one, or record 1 was replaced"


@contextmanager
def _each(database: Database, spans: list[tuple[int, int]], workers: int) -> Iterator[Iterator[Stretch]]:
    place = database.url.render_as_string(hide_password=False)
    if workers <= 1:
        yield (scan_stretch(place, first, last) for first, last in spans)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        firsts, lasts = zip(*spans, strict=True)
        yield pool.map(scan_stretch, [place] * len(spans), firsts, lasts)


def parsed(bundles: Sequence[str]) -> tuple[list[Checkpoint], list[Flaw]]:
    """The log's own checkpoints, and those that can't be read."""
    found, flaws = [], []
    for place, bundle in enumerate(bundles, 1):
        try:
            found.append(Checkpoint.parse(bundle, f"the log's checkpoint {place}"))
        except SignatureError as error:
            flaws.append(Flaw(0, "checkpoint", error.value))
    return found, flaws


def _payload_flaws(connection: Connection) -> Iterator[Flaw]:
    """Payloads that are not as their records say, or gone without a record of their deletion."""
    kept = select(payloads, records.c.payload).join_from(payloads, records, payloads.c.number == records.c.number, isouter=True)
    for number, salt, content, stated in connection.execution_options(yield_per=500).execute(kept):
        if stated is None:
            yield Flaw(number, "payload", f"there is a payload of record {number}, and no such record: it was removed")
        elif not (isinstance(salt, bytes) and isinstance(content, bytes)) or payload_digest(salt, content) != stated:
            yield Flaw(number, "payload", f"the payload of record {number} was edited: its digest is another one")
    erased = []
    for number, name in connection.execute(select(records.c.number, records.c.name).where(records.c.action == "erase")):
        if covered := re.fullmatch(r"(\d{1,18})-(\d{1,18})", str(name)):
            erased.append((int(covered[1]), min(int(covered[2]), number - 1)))
    there = select(payloads.c.number).where(payloads.c.number == records.c.number).exists()
    for number in connection.scalars(select(records.c.number).where(records.c.payload != "", ~there).order_by(records.c.number)):
        if not any(first <= number <= last for first, last in erased):
            yield Flaw(number, "payload", f"the payload of record {number} is gone, and no record says that it was erased")
