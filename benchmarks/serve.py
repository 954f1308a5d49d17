"""The server's throughput and latency on the bench CNN, beside a bare torch loop and beside LitServe.

    python benchmarks/serve.py [--seconds 5] [--threads 2] [--peers]

Bare: the network on batches in a loop, at the best batch size. Served: our own server as a process of its own, asked over
loopback by a client that has every request ready (requests of so many images, binary tensors or JSON). Client and server share
the machine's cores, which the loop has for itself. On a busy machine wall-clock figures say little; CPU seconds a sample are
printed beside them. Rounds take turns, and the median counts.

Latency is measured open-loop: requests leave at fixed times whether or not earlier ones are answered, and count from when
they should have left.
"""

import argparse
import asyncio
import atexit
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import martensite as mt

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_model import bench_model, mnist

ROUNDS = 3
BATCH = 32  # most samples that a server computes together
BATCHES = (16, 32, 64, 128, 256)
CLOCK = os.sysconf("SC_CLK_TCK")


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


def main() -> int:
    parser = argparse.ArgumentParser(description="the server beside a bare torch loop")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in the loop and in the server")
    parser.add_argument("--peers", action="store_true", help="measure LitServe, too, where it is installed")
    parser.add_argument("--images", type=int, nargs="*", default=[1, 8, 64], help="of a request")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    x = mnist("test", 256).x.numpy()
    with tempfile.TemporaryDirectory() as folder:
        place = mt.save_bundle(bench_model(hardened=False), Path(folder) / "bench", shape=(1, 28, 28))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__} with {asked.threads} threads")
        size, loops = bare(mt.load_bundle(place), x, asked.seconds)
        speed, cpu = statistics.median(one.rate for one in loops), statistics.median(one.cost for one in loops)
        print(f"bare loop, batches of {size}: {speed:,.0f} images/s, {cpu:.0f} CPU us an image")
        with Served(["serve", place, "--name", "bench", "--insecure-no-evidence", "--threads", asked.threads]) as ours:
            for images in asked.images:
                for binary in (True, False):
                    report(ours, x, images, binary, asked.seconds, speed, cpu)
        if asked.peers:
            peers(place, x, asked.seconds, asked.threads)
    return 0


def bare(model: mt.Classifier, x: np.ndarray, seconds: float) -> tuple[int, list[Load]]:
    """The best batch size, and loads of it."""

    def run(size: int, lasting: float) -> Load:
        batch = np.resize(x, (size, *x.shape[1:]))
        load, began, cpu = Load(), time.perf_counter(), time.process_time()
        with torch.inference_mode():
            while time.perf_counter() - began < lasting:
                model(torch.from_numpy(batch)).numpy()
                load.samples += size
        load.seconds, load.cpu = time.perf_counter() - began, time.process_time() - cpu
        return load

    run(64, 0.5)
    best = max(BATCHES, key=lambda size: run(size, seconds / 4).rate)
    return best, [run(best, seconds) for _ in range(ROUNDS)]


class Served:
    """``martensite serve`` as a process; ``url``, ``cpu()``."""

    def __init__(self, words: list[object], path: str = "/v2/models/bench/infer") -> None:
        code = "import sys; from martensite.cli.main import main; main(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words), "--port", "0", "--json"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        atexit.register(self.process.kill)
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(self.process.stdout.readline())
            if not lines[-1]:
                raise SystemExit("the server did not start")
        self.port, self.path = int(json.loads("".join(lines))["url"].rpartition(":")[2]), path
        wait_for(self.port)

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        return cpu_of(self.process.pid)

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    mine = (int(fields[11]) + int(fields[12])) / CLOCK
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return mine + sum(cpu_of(int(one)) for one in children)


def wait_for(port: int) -> None:
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not listen")


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
        free.append(client)

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


def measured(server: Served, work: object) -> Load:
    before = server.cpu()
    load = run(work)
    load.cpu = server.cpu() - before
    return load


def fastest(server: Served, content: bytes, images: int, seconds: float) -> Load:
    """The median round of as many clients as keep it busy."""
    clients = max(4, min(64, 256 // images))
    run(closed(server.port, content, images, min(seconds, 1.0), clients))
    rounds = [measured(server, closed(server.port, content, images, seconds, clients)) for _ in range(ROUNDS)]
    return sorted(rounds, key=lambda one: one.rate)[ROUNDS // 2]


def report(server: Served, x: np.ndarray, images: int, binary: bool, seconds: float, speed: float, cpu: float) -> None:
    content = request(server.path, x[:images], binary)
    most = fastest(server, content, images, seconds)
    calm = measured(server, open_loop(server.port, content, images, seconds, 0.8 * most.rate / images))
    print(
        f"{images:3} images a request, {'binary' if binary else 'JSON  '}: "
        f"{most.rate:,.0f} images/s ({most.rate / speed:.2f} x), "
        f"{most.rate / images:,.0f} requests/s, server {most.cost:.0f} CPU us an image ({most.cost / cpu:.2f} x); at 80 %: "
        f"p50 {1e3 * calm.quantile(0.5):.0f} ms, p99 {1e3 * calm.quantile(0.99):.0f} ms, {calm.codes}"
    )


class Peer(Served):
    """LitServe as a process."""

    def __init__(self, place: Path, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        script = Path(__file__).resolve().parent / "serve_peer.py"
        self.process = subprocess.Popen(
            [sys.executable, script, place, str(self.port), str(threads), str(BATCH)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        atexit.register(self.stop)
        self.path = "/predict"
        wait_for(self.port)
        content = request(self.path, np.zeros((1, 1, 28, 28), np.float32), False)
        for _ in range(600):  # it listens before its worker is there
            if run(closed(self.port, content, 1, 0.0001, 1)).codes.get(200):
                return
            time.sleep(0.2)

    def stop(self) -> None:
        """LitServe's processes, all of them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def __exit__(self, *_: object) -> None:
        self.stop()


def peers(place: Path, x: np.ndarray, seconds: float, threads: int) -> None:
    """LitServe with the same model, bytes and client; rounds take turns, at as many clients each."""
    try:
        import litserve
    except ImportError:
        print("LitServe isn't installed: pip install 'martensite[bench]'")
        return
    ours = Served(["serve", place, "--name", "bench", "--insecure-no-evidence", "--threads", threads])
    with ours, Peer(place, threads) as theirs:
        for clients in (8, 32):
            loads: dict[str, list[Load]] = {"martensite": [], f"litserve {litserve.__version__}": []}
            for turn in range(ROUNDS + 1):  # the first warms up
                for found, server in zip(loads.values(), (ours, theirs), strict=True):
                    load = measured(server, closed(server.port, request(server.path, x[:1], False), 1, seconds, clients))
                    if turn:
                        found.append(load)
            for name, found in loads.items():
                middle = sorted(found, key=lambda one: one.rate)[ROUNDS // 2]
                print(
                    f"{clients} clients, 1 image, JSON, {name}: {middle.rate:,.0f} requests/s, "
                    f"{middle.cost:.0f} CPU us a request, "
                    f"p50 {1e3 * middle.quantile(0.5):.0f} ms, p99 {1e3 * middle.quantile(0.99):.0f} ms, {middle.codes}"
                )


if __name__ == "__main__":
    sys.exit(main())
