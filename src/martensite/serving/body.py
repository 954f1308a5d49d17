"""Reading a request's body: no longer than allowed, no slower, and not more of them at a time than memory holds."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import PositiveFloat, PositiveInt
from starlette.requests import ClientDisconnect, Request

from martensite.core.config import Config
from martensite.serving.refusal import Refusal

PARSED = 2  # large bodies that are read as JSON at a time: each takes many times its size while it is


class Limits(Config):
    """Of requests.

    Args:
        body: Most bytes of a request, chunked or not.
        text: Most bytes of its JSON, which takes some twenty times as much memory while it is read; more comes in binary.
        held: Most bytes of all requests that are under way.
        head_seconds: In which a request's head has to be there.
        body_seconds: In which its body has to be there, and in which a client has to take what it is sent.
    """

    body: PositiveInt = 32 * 2**20
    text: PositiveInt = 8 * 2**20
    held: PositiveInt = 256 * 2**20
    head_seconds: PositiveFloat = 10.0
    body_seconds: PositiveFloat = 30.0


class Bodies:
    """The bodies of all requests under way.

    Args:
        limits: How large they may be.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0
        self.parsing = asyncio.Semaphore(PARSED)

    @contextmanager
    def one(self) -> Iterator["Body"]:
        """A body that counts as long as the block lasts."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held -= body.size


class Body:
    """One body.

    Attributes:
        size: Bytes of it that came so far.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self.size = bodies, 0

    async def read(self, request: Request) -> bytes:
        """The whole of it.

        Raises:
            Refusal: 413, too long; 408, too slow; 415, compressed; 429, too many at a time.
            ClientDisconnect: the client went away in the middle of it.
        """
        limits = self._bodies.limits
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":  # what is small on the wire may be huge in memory
            raise Refusal(415, f"Content-Encoding is {encoding[:40]!r}", "bodies are not compressed", "send it plain")
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said[:20]) > limits.body:
            raise _long(f"a body of {said[:20]} bytes", limits)
        parts, more = [], True
        try:
            async with asyncio.timeout(limits.body_seconds):
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part, more = message.get("body", b""), message.get("more_body", False)
                    self._count(len(part))
                    parts.append(part)
        except TimeoutError:
            text = f"a body is there within {limits.body_seconds:g} s"
            raise Refusal(408, f"only {self.size} bytes came", text, "send it faster") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _count(self, size: int) -> None:
        limits = self._bodies.limits
        self.size += size
        self._bodies.held += size
        if self.size > limits.body:
            raise _long(f"a body of more than {limits.body} bytes", limits)
        if self._bodies.held > limits.held:
            text = f"all requests under way have at most {limits.held} bytes"
            raise Refusal(429, "too many large requests at a time", text, "ask again later", retry_after=1.0)


def _long(value: str, limits: Limits) -> Refusal:
    return Refusal(413, value, f"at most {limits.body} are read", "split the request")
