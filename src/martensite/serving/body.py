"""Reading a request's body: no longer than allowed, and no slower."""

import asyncio

from pydantic import PositiveFloat, PositiveInt
from starlette.requests import ClientDisconnect, Request

from martensite.core.config import Config
from martensite.serving.refusal import Refusal


class Limits(Config):
    """Of requests.

    Args:
        body: Most bytes of a request, chunked or not.
        head_seconds: In which a request's head has to be there.
        body_seconds: In which its body has to be there.
    """

    body: PositiveInt = 32 * 2**20
    head_seconds: PositiveFloat = 10.0
    body_seconds: PositiveFloat = 30.0


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        Refusal: 413, too long; 408, too slow; 415, compressed.
        ClientDisconnect: the client went away in the middle of it.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":  # what is small on the wire may be huge in memory
        raise Refusal(415, f"Content-Encoding is {encoding[:40]!r}", "bodies are not compressed", "send it plain", close=True)
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said[:20]) > limits.body:
        raise _long(f"a body of {said[:20]} bytes", limits)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size > limits.body:
                    raise _long(f"a body of more than {limits.body} bytes", limits)
                parts.append(part)
    except TimeoutError:
        raise Refusal(
            408, f"only {size} bytes came", f"a body is there within {limits.body_seconds:g} s", "send it faster", close=True
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _long(value: str, limits: Limits) -> Refusal:
    return Refusal(413, value, f"at most {limits.body} are read", "split the request", close=True)
