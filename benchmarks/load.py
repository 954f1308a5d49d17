"""Requests as fast as a client can send them: the bytes are ready, and of an answer only its end is looked for."""

import asyncio
import json
import time
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """What came of some load."""

    samples: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    codes: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.samples / self.seconds

    @property
    def cost(self) -> float:
        """CPU microseconds of the server a sample."""
        return 1e6 * self.cpu / max(self.samples, 1)

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.latencies, q)) if self.latencies else float("nan")


def request(path: str, x: np.ndarray, binary: bool) -> bytes:
    """An inference request, whole."""
    tensor = {"name": "input", "datatype": "FP32", "shape": list(x.shape)}
    if binary:
        raw = x.tobytes()
        document = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(document).encode()
        body, more = text + raw, f"Inference-Header-Content-Length: {len(text)}\r\nContent-Type: application/octet-stream\r\n"
    else:
        body = json.dumps({"inputs": [{**tensor, "data": [round(float(v), 4) for v in x.ravel()]}]}).encode()
        more = "Content-Type: application/json\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Client(asyncio.Protocol):
    """A connection that sends ready bytes and looks for the end of the answer: as little as a client can do."""

    def __init__(self) -> None:
        self.buffer, self.waiting = b"", None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        start = head.lower().index(b"content-length:") + 15
        if len(rest) >= int(head[start:].split(b"\r\n", 1)[0]):
            self.buffer = b""
            waiting, self.waiting = self.waiting, None
            waiting.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(0)

    async def ask(self, content: bytes) -> int:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        return await self.waiting


async def connections(port: int, n: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(n)]


async def closed(port: int, content: bytes, images: int, seconds: float, clients: int) -> Load:
    """As fast as so many clients get answers."""
    load, opened = Load(), await connections(port, clients)
    began = time.perf_counter()

    async def one(client: Client) -> None:
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            code = await client.ask(content)
            load.codes[code] = load.codes.get(code, 0) + 1
            if code == 200:
                load.samples += images
                load.latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(one(client) for client in opened))
    load.seconds = time.perf_counter() - began
    for client in opened:
        client.transport.close()
    return load


async def open_loop(port: int, content: bytes, images: int, seconds: float, rate: float) -> Load:
    """So many requests a second at fixed times, over as many connections as it takes."""
    load, free, opened = Load(), [], 0
    began, tasks = time.perf_counter() + 0.1, []

    async def one(due: float) -> None:
        nonlocal opened
        client = free.pop() if free else None
        if client is None:
            opened += 1
            (client,) = await connections(port, 1)
        code = await client.ask(content)
        load.latencies.append(time.perf_counter() - due)
        load.codes[code] = load.codes.get(code, 0) + 1
        load.samples += images * (code == 200)
        if code == 200:  # after a refusal the server may close the connection
            free.append(client)
        else:
            client.transport.close()

    for place in range(int(seconds * rate)):
        due = began + place / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - began
    for client in free:
        client.transport.close()
    return load


def run(work: object) -> Load:
    try:
        import uvloop

        return uvloop.run(work)
    except ImportError:
        return asyncio.run(work)
