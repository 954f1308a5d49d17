"""Connections have an end: so many at a time, and so long for the head of a request.

A client that opens connections and sends nothing, or a byte now and then, would else hold the server for free. Those that are
connected are served; it is the newest that is turned away.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(FULL)
                transport.close()
            else:
                self._expect()

        def data_received(self, data: bytes) -> None:
            if not self.transport.is_closing():
                super().data_received(data)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect()

        def on_headers_complete(self) -> None:
            self._relax()
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
