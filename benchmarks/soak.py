"""Minutes at twice what the server can: it doesn't crash, its memory stays flat, and every answer is right or says "later".

    python benchmarks/soak.py [--minutes 10] [--threads 1]

A signed bundle of a small network is served by `martensite serve` as a process of its own, with an audit log, keys, and the
monitors. First the capacity is measured: so many connections ask as fast as they are answered. Then requests leave at twice that
rate, whether or not earlier ones are answered. Every answer has the labels that the model gives here, or is 429 with Retry-After;
anything else, a lost connection too, is a failure. Memory is the server's resident set, sampled each second; flat means that the
median of the last quarter is at most 5 % (and 16 MiB) over that of the second, the first being the warm-up.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

import martensite as mt
from martensite.artifacts.attest import Subject, append_claim, make_claim, predicate_of
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Keyring, Trust, sign_model
from martensite.models import build
from martensite.serving.access import ApiKey, Keys, new_secret

WORDS = "a passphrase of words"
SAMPLES, SHAPE = 8, (1, 28, 28)  # of a request
CLOSED = 32  # connections that measure the capacity
OPEN = 400  # connections at most; the server takes 512
PATIENCE = 120.0  # seconds until an answer is lost
GROWTH, SLACK = 0.05, 16 * 2**20
POLICY = "require: {release: {max_age_days: 30}, approval: {people: 1}}\n"


@dataclass
class Soak:
    """What came of it.

    Attributes:
        capacity: Requests a second that were answered when as many were asked.
        offered: Requests a second that were sent afterwards.
        answered: Requests a second that were answered then.
        statuses: How many of which.
        wrong: Answers with another label, or without what they have to have; lost connections.
        memory: Resident bytes of the server, second by second.
        p99: Seconds of what was answered, as the client sees it.
        inside: The same as the server sees it, from the head of a request on.
        lost: Records of the audit log that were lost, by the server's own count.
        code: Exit code of the server when it was told to stop.
    """

    capacity: float = 0.0
    offered: float = 0.0
    answered: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    p99: float = 0.0
    inside: float | None = None
    lost: int | None = None
    code: int | None = None

    @property
    def grown(self) -> int:
        """Bytes between the median of the second quarter and of the last."""
        quarter = max(len(self.memory) // 4, 1)
        return round(statistics.median(self.memory[-quarter:]) - statistics.median(self.memory[quarter : 2 * quarter]))

    @property
    def flat(self) -> bool:
        """Whether memory stayed where it was."""
        return self.grown <= max(GROWTH * statistics.median(self.memory), SLACK)

    @property
    def good(self) -> bool:
        """Whether all that was promised was kept."""
        return not self.wrong and set(self.statuses) <= {200, 429} and self.statuses[200] > 0 and self.flat and self.code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="minutes at twice the capacity")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1, help="of torch in the server")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), 60 * asked.minutes, asked.threads)
    total = sum(found.statuses.values())
    rates = f"{found.capacity:,.0f}/s can be answered, {found.offered:,.0f}/s were sent, {found.answered:,.0f}/s answered"
    print(f"requests of {SAMPLES} samples for {asked.minutes:g} min: {rates}; {total:,} in all, by status {dict(found.statuses)}")
    inside = "unknown" if found.inside is None else f"{found.inside:.2f} s"
    print(f"p99 {found.p99:.2f} s at the client, {inside} in the server in its last minute; audit records lost: {found.lost}")
    first, last = (one / 2**20 for one in (found.memory[0], found.memory[-1]))
    grown = found.grown / 2**20
    print(f"memory {first:.0f} -> {last:.0f} MiB, grown {grown:+.1f} MiB; wrong {len(found.wrong)}; exit code {found.code}")
    for one, n in Counter(found.wrong).most_common(5):
        print(f"  {n} x {one}")
    print("GOOD" if found.good else "NOT GOOD")
    if asked.json is not None:
        record = {"capacity": found.capacity, "offered": found.offered, "answered": found.answered, "statuses": found.statuses,
                  "wrong": len(found.wrong), "memory": found.memory, "p99": found.p99, "lost": found.lost}  # fmt: skip
        asked.json.write_text(json.dumps(record) + "\n")
    return 0 if found.good else 1


def soak(folder: Path, seconds: float, threads: int = 1) -> Soak:
    """Serve a bundle and ask twice what can be answered.

    Args:
        folder: For everything that is written.
        seconds: Of the load; measuring the capacity takes a tenth of that beforehand, at most ten seconds.
        threads: Of torch in the server.
    """
    token = prepare(folder)
    questions = ask_about(folder, token)
    found = Soak()
    with Server(folder, threads) as server:
        asyncio.run(_soak(server, questions, found, seconds))
        try:
            record = httpx.get(f"{server.url}/v1/monitor", headers={"Authorization": f"Bearer {token}"}, timeout=30).json()
            found.lost, found.inside = record["audit_lost"], record["traffic"]["p99"]
        except (httpx.HTTPError, KeyError, ValueError) as error:
            found.wrong.append(f"the monitor does not answer: {error}")
    found.code = server.code
    return found


def ask_about(folder: Path, token: str) -> list[tuple[bytes, list[int | None]]]:
    """Requests with the labels that are right; None where rounding may decide."""
    model = mt.load_bundle(folder / "m")
    rng = np.random.default_rng(0)
    questions = []
    for _ in range(64):
        x = rng.random((SAMPLES, *SHAPE), dtype=np.float32)
        with torch.inference_mode():
            logits = model(torch.from_numpy(x))
        top = logits.topk(2).values
        labels = [
            int(one) if margin > 1e-3 else None for one, margin in zip(logits.argmax(1), top[:, 0] - top[:, 1], strict=True)
        ]
        questions.append((question(x, token), labels))
    return questions


def prepare(folder: Path) -> str:
    """A signed bundle `m` with claims, serve.yaml and keys.yaml; the token of a key."""
    save = mt.save_bundle(build({"kind": "small_cnn", "width": 64}, SHAPE, 10, seed=0).eval(), folder / "m", shape=SHAPE)
    ring, trust = Keyring(folder / "keys"), Trust()
    for name, owner in {"release": "Rex", "approver": "Ann"}.items():
        ring.new(name, WORDS, role=name, owner=owner)
        trust = trust.with_record(ring.record(name))
    trust.save(folder / "trust.yaml")
    (folder / "policy.yaml").write_text(POLICY)
    sign_model(save, ring, WORDS, key="release")
    subject = Subject.of(save)
    for kind, who, about in (("release", "release", {"name": "m", "version": 1}), ("approval", "approver", {"reason": "soak"})):
        predicate = predicate_of(kind, subject, None, about, now() - timedelta(minutes=1))
        append_claim(folder / "m.claims.jsonl", make_claim(subject, predicate, ring.private(WORDS, who)), bundle=save)
    token, digest = new_secret("soak")
    Keys(keys=(ApiKey(name="soak", hashes=(digest,), scopes=("infer", "monitor")),)).save(folder / "keys.yaml")
    settings: dict[str, Any] = {
        "port": 0,
        "access": {"keys": str(folder / "keys.yaml")},
        "audit": {"log": str(folder / "audit.db")},
        "models": [{
            "name": "m", "bundle": str(save), "queries": {}, "batching": {"latency": 0.25, "max_queue": 512},
            "evidence": {"policy": str(folder / "policy.yaml"), "trust": str(folder / "trust.yaml"), "recheck": 5},
        }],
    }  # fmt: skip
    (folder / "serve.yaml").write_text(json.dumps(settings))
    return token


def question(x: Any, token: str) -> bytes:
    """A request as it goes over the wire: a binary tensor in, labels out."""
    raw = x.tobytes()
    tensor = {"name": "input", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
    lines = ["POST /v2/models/m/infer HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}",
             f"Inference-Header-Content-Length: {len(head)}", f"Content-Length: {len(head) + len(raw)}", "", ""]  # fmt: skip
    return "\r\n".join(lines).encode() + head + raw


class Server:
    """`martensite serve` as a process of its own, from entry to exit.

    Attributes:
        url: Of it.
        code: How it ended.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self.code: int | None = None

    def __enter__(self) -> "Server":
        self._log = (self._folder / "server.log").open("w")
        command = [sys.executable, "-c", "from martensite.cli.main import main; main()"]
        asked = ["serve", "--config", str(self._folder / "serve.yaml"), "--threads", str(self._threads), "--json"]
        self.process = subprocess.Popen([*command, *asked], stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start: {(self._folder / 'server.log').read_text()[-2000:]}")
            text += line
        self.url = json.loads(text)["url"]
        self.address = ("127.0.0.1", int(self.url.rpartition(":")[2]))
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def memory(self) -> int:
        """Resident bytes; 0: it is gone."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


class Connection:
    """Asks one question after the other."""

    def __init__(self, server: Server, found: Soak) -> None:
        self._server, self._found = server, found
        self._pipe: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._fresh = True

    async def ask(self, request: bytes, labels: list[int | None]) -> int:
        """The status of the answer; 0: there was none. What isn't right is noted."""
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    head, body = await self._exchange(request)
                except (ConnectionError, asyncio.IncompleteReadError) as error:
                    if self._fresh or getattr(error, "partial", b""):
                        raise
                    self.close()  # it was idle for too long, and closed while this was on its way: any client asks again
                    head, body = await self._exchange(request)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            self.close()
            self._found.wrong.append(f"no answer: {type(error).__name__}: {error}")
            return 0
        status = int(head.split(" ", 2)[1])
        if status == 200:
            got = next(one["data"] for one in json.loads(body)["outputs"] if one["name"] == "label")
            if len(got) != len(labels) or any(wanted not in (None, one) for one, wanted in zip(got, labels, strict=True)):
                self._found.wrong.append(f"labels {got} where {labels} are right")
        elif status == 429:
            if "retry-after:" not in head:
                self._found.wrong.append("429 without Retry-After")
        else:
            self._found.wrong.append(f"{status}: {body[:200]!r}")
        if "connection: close" in head:
            self.close()
        return status

    async def _exchange(self, request: bytes) -> tuple[str, bytes]:
        self._fresh = self._pipe is None
        if self._pipe is None:
            self._pipe = await asyncio.open_connection(*self._server.address)
        reader, writer = self._pipe
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        return head, await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))

    def close(self) -> None:
        """Leave."""
        if self._pipe is not None:
            self._pipe[1].close()
            self._pipe = None


async def _soak(server: Server, questions: list[tuple[bytes, list[int | None]]], found: Soak, seconds: float) -> None:
    trial = Soak()
    lasting = min(10.0, seconds / 10)
    for _ in range(2):  # the first is the warm-up
        trial.statuses.clear()
        began = time.perf_counter()

        async def hurry(place: int, until: float) -> None:
            connection, asked = Connection(server, trial), place
            while time.perf_counter() < until:
                trial.statuses[await connection.ask(*questions[asked % len(questions)])] += 1
                asked += 1
            connection.close()

        await asyncio.gather(*[hurry(place, began + lasting) for place in range(CLOSED)])
        found.capacity = trial.statuses[200] / (time.perf_counter() - began)
    found.wrong += trial.wrong
    if not found.capacity:
        return
    await _overload(server, questions, found, seconds)


async def _overload(server: Server, questions: list[tuple[bytes, list[int | None]]], found: Soak, seconds: float) -> None:
    idle = [Connection(server, found) for _ in range(OPEN)]
    every, began, sent = 1 / (2 * found.capacity), time.perf_counter(), 0
    seen, latencies = began, []
    running: set[asyncio.Task[None]] = set()

    async def one(connection: Connection, asked: int) -> None:
        left = time.perf_counter()
        status = await connection.ask(*questions[asked % len(questions)])
        found.statuses[status] += 1
        if status == 200:
            latencies.append(time.perf_counter() - left)
        idle.append(connection)

    while (moment := time.perf_counter()) < began + seconds:
        while sent < (moment - began) / every and idle:
            task = asyncio.create_task(one(idle.pop(), sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        if moment - seen >= 1.0:
            seen = moment
            found.memory.append(server.memory())
            if server.process.poll() is not None:
                found.wrong.append("the server ended")
                return
        await asyncio.sleep(every)
    took = time.perf_counter() - began
    await asyncio.gather(*running)
    found.offered, found.answered = sent / took, found.statuses[200] / took
    found.p99 = float(np.quantile(latencies, 0.99)) if latencies else float("nan")
    for connection in idle:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
