"""Recording from many threads: whatever waits goes to disk together, in one transaction.

A flush takes milliseconds however much it writes, so records one by one come to a hundred or two a second, and together to
thousands. Each caller still learns when its own record is on disk.
"""

import os
import queue
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Self

from martensite.artifacts.audit.entry import Entry, Record
from martensite.artifacts.audit.log import AuditLog
from martensite.core.errors import StorageError

MOST = 1000  # entries a transaction
WAITING = 10_000  # entries that may wait; then callers wait


class Writer:
    """One thread that writes for all others; to use as a context manager, or `close` it.

    Args:
        log: Where to.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._queue: queue.Queue[tuple[Entry, Future[Record]] | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._closed, self._process = False, os.getpid()
        self._thread = threading.Thread(target=self._run, name="martensite-audit", daemon=True)
        self._thread.start()

    def submit(self, entry: Entry) -> Future[Record]:
        """Have it recorded; the future's result is there once it is on disk, or `StorageError` if that failed.

        From asyncio: ``await asyncio.wrap_future(writer.submit(entry))``.

        Raises:
            StorageError: the writer is closed, or this process was forked after it was made.
        """
        future: Future[Record] = Future()
        with self._lock:  # else an entry could come after the end, and wait forever
            if self._closed or self._process != os.getpid():  # a fork has no thread to write with
                what = "the audit log's writer is closed, or another process's"
                raise StorageError(what, "what is recorded after that would be lost", "open a new one")
            self._queue.put((entry, future))
        return future

    def record(self, entry: Entry) -> Record:
        """Have it recorded, and wait until it is on disk.

        Raises:
            StorageError: it was not recorded.
        """
        return self.submit(entry).result()

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < MOST and not last:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                else:
                    batch.append(following)
            self._write([one for one in batch if one[1].set_running_or_notify_cancel()])
            if last:
                return

    def _write(self, batch: Iterable[tuple[Entry, Future[Record]]]) -> None:
        given = list(batch)
        try:
            written = self._log.append(entry for entry, _ in given)
        except BaseException as error:  # whoever waits must learn of it
            for _, future in given:
                future.set_exception(error)
            return
        for (_, future), record in zip(given, written, strict=True):
            future.set_result(record)
