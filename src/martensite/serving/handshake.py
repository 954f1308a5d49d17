"""TLS handshakes are connections, too: they count, and they have their time.

uvicorn counts a connection once its handshake is over. A client that opens sockets and never begins one would hold a descriptor
each for a minute, as many as it likes, and no limit of the server would see them.
"""

import asyncio
import ssl
from collections.abc import Callable, Sized
from typing import Any


def behind_tls(
    protocol: Callable[..., asyncio.Protocol], context: ssl.SSLContext, seconds: float, most: int
) -> Callable[..., Any]:
    """A protocol factory for a plain listener, whose connections become TLS before anybody is asked.

    Args:
        protocol: uvicorn's, for what comes after the handshake; takes uvicorn's keywords.
        context: Certificate and key.
        seconds: In which a handshake is over.
        most: Connections at a time, those in their handshake included; one more is cut off, as it can't be told why yet.
    """
    shaking: set[asyncio.Task[None]] = set()

    def make(*, server_state: Any, **given: Any) -> asyncio.Protocol:
        return _Door(
            lambda: protocol(server_state=server_state, **given), context, seconds, most, shaking, server_state.connections
        )

    return make


class _Door(asyncio.Protocol):
    def __init__(
        self,
        inner: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        seconds: float,
        most: int,
        shaking: set[asyncio.Task[None]],
        served: Sized,
    ) -> None:
        self._inner, self._context, self._seconds, self._most = inner, context, seconds, most
        self._shaking, self._served = shaking, served
        self._came: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        if len(self._shaking) + len(self._served) >= self._most:
            transport.abort()
            return
        transport.pause_reading()  # until TLS reads
        task = asyncio.get_running_loop().create_task(self._shake(transport))
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    def data_received(self, data: bytes) -> None:
        self._came.append(data)  # uvloop begins to read after `connection_made`, paused or not

    async def _shake(self, transport: Any) -> None:
        early, loop = _Early(), asyncio.get_running_loop()
        begun = loop.create_task(
            loop.start_tls(transport, early, self._context, server_side=True, ssl_handshake_timeout=self._seconds)
        )
        # After one turn of the loop start_tls has put TLS in this protocol's place, after two it is connected; nothing is read
        # before that goes on, so what came until then comes first.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            if self._came and not transport.is_closing():
                _feed(transport.get_protocol(), b"".join(self._came))
            secured: Any = await begun
        except (OSError, ssl.SSLError):  # it broke off, was too slow, or spoke no TLS
            transport.abort()
            return
        if secured is None or secured.is_closing():
            transport.abort()
            return
        protocol = self._inner()
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
        if early.came:
            protocol.data_received(b"".join(early.came))
        if early.ended:
            protocol.eof_received()
        if early.lost:
            protocol.connection_lost(None)


class _Early(asyncio.Protocol):
    """Keeps what comes with the end of the handshake."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.ended = self.lost = False

    def data_received(self, data: bytes) -> None:
        self.came.append(data)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def _feed(protocol: Any, data: bytes) -> None:
    while data:
        buffer = protocol.get_buffer(len(data))
        n = min(len(buffer), len(data))
        buffer[:n] = data[:n]
        protocol.buffer_updated(n)
        data = data[n:]
