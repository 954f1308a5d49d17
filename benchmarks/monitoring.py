"""What detectors and monitors add to the cost of serving, as ratios of CPU time in one process, round by round in turn.

The bench CNN answers requests of 64 images (binary tensors) through the whole application but for the socket: bare; with the live
figures and the drift tests; with two detectors; with both. CPU time of all threads counts, so that nothing done beside the
answers is hidden. The drift tests work in bursts that they rest for afterwards: their own time is taken out, and the whole share
that they may take of the server's is added instead.

    python benchmarks/monitoring.py [--rounds 5] [--seconds 8] [--size 64]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import martensite as mt
from martensite.artifacts.reference import add_reference
from martensite.core.heap import keep
from martensite.defenses import Defence, Energy, Mahalanobis, defend
from martensite.serving import Fleet, Observer, ServeConfig, create_app
from martensite.serving.monitoring.drift.reference import Reference

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_model import bench_model, mnist


def main() -> int:
    parser = argparse.ArgumentParser(description="the cost of detectors and monitors")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a round of each")
    parser.add_argument("--size", type=int, default=64, help="images a request")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep()  # as the server does
    model = bench_model(hardened=False)
    guarded = defend(model, Defence(detectors=(Mahalanobis(), Energy()), false_alarms=0.01), mnist("validation", 2000))
    test = mnist("test", 4000)
    x = test.x[2000:].numpy()
    with tempfile.TemporaryDirectory() as folder:
        fleets = {}
        for name, one, watched in (
            ("bare", model, False), ("monitors", model, True), ("detectors", guarded, False), ("both", guarded, True),
        ):  # fmt: skip
            place = mt.save_bundle(one, Path(folder) / name, shape=(1, 28, 28))
            add_reference(place, Reference.of(one, test.subset(slice(0, 2000))).to_bytes())
            config = {"models": [{"name": "m", "bundle": str(place)}], "insecure_no_evidence": True}
            fleets[name] = Fleet(ServeConfig.parse(config))
            if not watched:
                fleets[name].observer.members = (Observer(),)
            fleets[name].load()
        apps = {name: create_app(fleet) for name, fleet in fleets.items()}
        bodies = [request(x[start : start + asked.size]) for start in range(0, len(x) - asked.size + 1, asked.size)]
        costs: dict[str, list[float]] = {name: [] for name in fleets}
        for turn in range(asked.rounds + 1):
            for name, fleet in fleets.items():
                desk, began = fleet.live.desk, time.process_time()
                spent = desk.spent
                images = asyncio.run(load(apps[name], bodies, asked.seconds if turn else 0.5, asked.size))
                desk.settle()  # or the next one would pay for what waits
                cost = (time.process_time() - began - (desk.spent - spent)) / images
                if fleet.observer.members[0] is fleet.live:
                    cost /= 1.0 - fleet.config.monitoring.drift.budget
                if turn:  # the first warms up
                    costs[name].append(cost)
        live = fleets["both"].live
        drift = live.desk.spent / live.snapshot().models[0].versions[0].drift.samples
        share = live.settings.drift.budget * statistics.median(costs["both"]) / drift
        for fleet in fleets.values():
            fleet.close()
    print(f"bare: {1e6 * statistics.median(costs['bare']):.0f} CPU us an image in requests of {asked.size}")
    for name in ("monitors", "detectors", "both"):
        ratios = [one / bare for one, bare in zip(costs[name], costs["bare"], strict=True)]
        spread = f"[{min(ratios):.3f}, {max(ratios):.3f}]"
        print(f"{name}: {statistics.median(ratios):.3f} times the bare cost, median of {len(ratios)} rounds, range {spread}")
    print(f"the drift tests take {1e6 * drift:.0f} CPU us an image: of a full server's images they see {min(share, 1.0):.0%}")
    return 0


async def load(app: object, bodies: list[tuple[bytes, dict[bytes, bytes]]], seconds: float, size: int) -> int:
    """The images of a round of so many CPU seconds."""
    began, requests = time.process_time(), 0
    while time.process_time() < began + seconds:
        body, headers = bodies[requests % len(bodies)]
        if (status := await ask(app, body, headers)) != 200:
            raise SystemExit(f"the server answered {status}")
        requests += 1
    return requests * size


async def ask(app: object, body: bytes, headers: dict[bytes, bytes]) -> int:
    """One request by ASGI; its status."""
    sent, came = [], [{"type": "http.request", "body": body, "more_body": False}]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v2/models/m/infer", "raw_path": b"/v2/models/m/infer", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *headers.items()], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return came.pop() if came else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[operator]
    return int(sent[0]["status"])  # type: ignore[call-overload]


def request(x: np.ndarray) -> tuple[bytes, dict[bytes, bytes]]:
    """A binary request for images (n, 1, 28, 28), and its headers."""
    tensor = {"name": "input", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = head + x.tobytes()
    headers = {b"inference-header-content-length": str(len(head)).encode(), b"content-length": str(len(body)).encode()}
    return body, headers | {b"content-type": b"application/octet-stream"}


if __name__ == "__main__":
    sys.exit(main())
