"""The server's throughput and latency on the bench CNN, beside a bare torch loop and beside LitServe.

    python benchmarks/serve.py [--seconds 5] [--threads 2] [--peers]

Bare: the network on batches in a loop, at the best batch size. Served: our own server as a process of its own, asked over
loopback by a client that has every request ready (requests of so many images, binary tensors or JSON). Client and server share
the machine's cores, which the loop has for itself. On a busy machine wall-clock figures say little; CPU seconds a sample are
printed beside them. Rounds of the loop and of the server take turns, each pair gives a ratio, and the median counts.

Latency is measured open-loop: requests leave at fixed times whether or not earlier ones are answered, and count from when
they should have left.
"""

import argparse
import atexit
import contextlib
import gc
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import martensite as mt
from martensite.core.heap import keep

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_model import bench_model, mnist
from load import Load, closed, open_loop, request, run

ROUNDS = 3
BATCH = 32  # most samples that a server computes together
BATCHES = (16, 32, 64, 128, 256)
CLOCK = os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description="the server beside a bare torch loop")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in the loop and in the server")
    parser.add_argument("--peers", action="store_true", help="measure LitServe, too, where it is installed")
    parser.add_argument("--images", type=int, nargs="*", default=[1, 8, 64], help="of a request")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    x = mnist("test", 256).x.numpy()
    keep()  # as the server does
    gc.freeze()  # a pause of the client's would look like one of the server's
    with tempfile.TemporaryDirectory() as folder:
        place = mt.save_bundle(bench_model(hardened=False), Path(folder) / "bench", shape=(1, 28, 28))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__} with {asked.threads} threads")
        loop = Loop(mt.load_bundle(place), x, asked.seconds / 4)
        print(f"bare loop: batches of {loop.size} are fastest")
        with Served(["serve", place, "--name", "bench", "--insecure-no-evidence", "--threads", asked.threads]) as ours:
            for images in asked.images:
                for binary in (True, False):
                    report(ours, loop, x, images, binary, asked.seconds)
        if asked.peers:
            peers(place, x, asked.seconds, asked.threads)
    return 0


class Loop:
    """Nothing but the network on batches, of the size that was fastest."""

    def __init__(self, model: mt.Classifier, x: np.ndarray, seconds: float) -> None:
        self.model, self.x, self.size = model, x, 64
        self.run(0.5)
        self.size = max(BATCHES, key=lambda size: self.run(seconds, size).rate)

    def run(self, seconds: float, size: int | None = None) -> Load:
        """So many seconds of it."""
        batch = np.resize(self.x, (size or self.size, *self.x.shape[1:]))
        load, began, cpu = Load(), time.perf_counter(), time.process_time()
        with torch.inference_mode():
            while time.perf_counter() - began < seconds:
                self.model(torch.from_numpy(batch)).numpy()
                load.samples += len(batch)
        load.seconds, load.cpu = time.perf_counter() - began, time.process_time() - cpu
        return load


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


def measured(server: Served, work: object) -> Load:
    before = server.cpu()
    load = run(work)
    load.cpu = server.cpu() - before
    return load


def report(server: Served, loop: Loop, x: np.ndarray, images: int, binary: bool, seconds: float) -> None:
    """Rounds of the bare loop, of as many clients as keep the server busy, and of 80 % of what these got; medians of each."""
    content, clients = request(server.path, x[:images], binary), max(4, min(64, 256 // images))
    run(closed(server.port, content, images, min(seconds, 1.0), clients))
    bare, most, calm = [], [], []
    for _ in range(ROUNDS):
        bare.append(loop.run(seconds))
        most.append(measured(server, closed(server.port, content, images, seconds, clients)))
        calm.append(measured(server, open_loop(server.port, content, images, seconds, 0.8 * most[-1].rate / images)))
    rate, cost = statistics.median(one.rate for one in most), statistics.median(one.cost for one in most)
    shares = [one.rate / loop.rate for one, loop in zip(most, bare, strict=True)]
    p50, p99 = (1e3 * statistics.median(one.quantile(q) for one in calm) for q in (0.5, 0.99))
    codes = {code: sum(one.codes.get(code, 0) for one in calm) for code in sorted({code for one in calm for code in one.codes})}
    print(
        f"{images:3} images a request, {'binary' if binary else 'JSON  '}: {rate:,.0f} images/s, "
        f"{statistics.median(shares):.2f} x [{min(shares):.2f}, {max(shares):.2f}] the bare loop's "
        f"{statistics.median(one.rate for one in bare):,.0f}; "
        f"{rate / images:,.0f} requests/s, server {cost:.0f} CPU us an image; "
        f"at 80 %: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {codes}",
        flush=True,
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
