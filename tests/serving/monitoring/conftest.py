"""A defended digits model with reference statistics, signed; an attack on it; and a real Prometheus with its Alertmanager."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

import martensite as mt
from martensite.artifacts import save_bundle
from martensite.artifacts.reference import add_reference
from martensite.data import load_data
from martensite.defenses import Defence, Mahalanobis, defend
from martensite.models import build
from martensite.serving.monitoring.deploy.prometheus import PrometheusFiles
from martensite.serving.monitoring.drift.reference import Reference
from martensite.threat import ThreatModel

DEADLINE = 60.0  # seconds for what takes two or three


@pytest.fixture(scope="session")
def battle(yard):
    """A defended bundle `guard` beside the yard's, clean inputs that nothing was made from, and adversarials."""
    data = load_data("digits", split="all")
    data = data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    model = build({"kind": "mlp", "hidden": [32]}, data.shape, data.classes, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data.x[:500]), data.y[:500]).backward()
        optimiser.step()
    model.eval()
    defence = Defence(detectors=(Mahalanobis(),), false_alarms=0.02)
    defended = defend(model, defence, data.subset(slice(500, 1000)))
    bundle, threat = yard.folder / "guard", ThreatModel(norm="linf", eps=0.5)
    save_bundle(defended, bundle, threat=threat)
    add_reference(bundle, Reference.of(defended, data.subset(slice(1000, 1400))).to_bytes())
    yard.prove(bundle, version=7)
    clean = data.x[1400:]
    adversarial = mt.attack(mt.attacks.PGD(steps=10, restarts=1), model, clean, data.y[1400:], threat, seed=0).adversarial
    return SimpleNamespace(bundle=bundle, clean=clean, labels=data.y[1400:], adversarial=adversarial)


@pytest.fixture
def guard(battle, here):
    """The settings of a server of that bundle."""
    for suffix in ("", ".sig", ".claims.jsonl"):
        source, target = battle.bundle.with_name("guard" + suffix), here.folder / f"guard{suffix}"
        if not target.exists():
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return {"name": "guard", "bundle": str(here.folder / "guard"), "evidence": here.evidence}


@pytest.fixture
def inbox():
    """A webhook: ``url``, and ``alerts`` as they come."""
    alerts = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            alerts.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/", alerts=alerts)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tower(tmp_path):
    """Starts Debian's prometheus and alertmanager on free ports of this machine, and ends them: ``tower(targets, webhook)``.

    ``kill()`` of what it returns is ``kill -9`` of both, ``again()`` starts them anew on what they stored.
    """
    programs = {name: shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"{missing[0]} is not installed: apt-get install {missing[0]}")
    running = []

    def start(targets, webhook, **more):
        folder, ports = tmp_path / "tower", [free_port(), free_port()]
        given = {"targets": targets, "webhook": webhook, "interval": "1s", "wait": "1s", "alertmanager": f"127.0.0.1:{ports[1]}"}
        PrometheusFiles.parse({**given, **more}).write(folder)
        words = {
            "prometheus": [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                           f"--web.listen-address=127.0.0.1:{ports[0]}"],
            "prometheus-alertmanager": [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alerts",
                                        f"--web.listen-address=127.0.0.1:{ports[1]}", "--cluster.listen-address="],
        }  # fmt: skip

        def launch():
            for name, options in words.items():
                with open(folder / f"{name}.log", "ab") as log:
                    running.append(subprocess.Popen([programs[name], *options], stdout=log, stderr=log))
            for port in ports:
                wait_for(lambda port=port: fetch(f"http://127.0.0.1:{port}/-/ready"))

        def kill():
            while running:
                process = running.pop()
                process.kill()
                process.wait()

        launch()

        def ask(expression):
            query = urllib.parse.urlencode({"query": expression})
            answer = json.loads(fetch(f"http://127.0.0.1:{ports[0]}/api/v1/query?{query}"))
            return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

        def firing():
            answer = json.loads(fetch(f"http://127.0.0.1:{ports[0]}/api/v1/alerts"))
            return sorted({one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"})

        return SimpleNamespace(ask=ask, firing=firing, kill=kill, again=launch)

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(condition, what="it"):
    """Until a condition holds; what a machine is busy with has a minute."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, KeyError):
            pass
        if time.monotonic() > until:
            pytest.fail(f"{what} did not come about in {DEADLINE:g} s")
        time.sleep(0.1)


@pytest.fixture(name="wait_for")
def _wait_for():
    return wait_for


@pytest.fixture(name="free_port")
def _free_port():
    return free_port
