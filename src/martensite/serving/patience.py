"""Connections have an end: so many at a time, and so long for the head of a request, which is no longer than a head has to be.

A client that opens connections and sends nothing, or a byte now and then, would else hold the server for free. Those that are
connected are served; it is the newest that is turned away.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 * 2**10  # bytes; the parser itself would keep a head of any length
LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def patient(seconds: float, taken: float, most: int) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with limits that it has no setting for.

    Args:
        seconds: In which a request's head is there: the first from the connection on, others from their first byte.
        taken: In which a client takes what waits for it.
        most: Connections at a time.
    """

    class Patient(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None
        _stuck: asyncio.TimerHandle | None = None
        _in_head = True
        _came = 0  # bytes of the head, as far as they were looked at

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(FULL)
                transport.close()
            else:
                self._expect()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self._in_head
            super().data_received(data)
            if before and self._in_head:  # all of it belongs to a head that goes on
                self._count(len(data))

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head, self._came = True, 0
            self._expect()

        def on_header(self, name: bytes, value: bytes) -> None:
            super().on_header(name, value)
            self._count(len(name) + len(value))

        def on_headers_complete(self) -> None:
            self._relax()
            self._in_head = False
            if self.transport.is_closing():
                raise ValueError("the head is too long")  # the parser stops, and nobody is asked
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stuck = self.loop.call_later(taken, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._go_on()

        def connection_lost(self, exc: Exception | None) -> None:
            self._relax()
            self._go_on()
            super().connection_lost(exc)

        def _count(self, size: int) -> None:
            self._came += size
            if self._came > HEAD and not self.transport.is_closing():
                self.transport.write(LONG)
                self.transport.close()

        def _go_on(self) -> None:
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None

        def _expect(self) -> None:
            self._relax()
            self._deadline = self.loop.call_later(seconds, self.transport.close)

        def _relax(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Patient
