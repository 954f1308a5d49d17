"""Signed bundles of two tiny models, made once; servers in this process, and one on a real socket."""

import shutil
import threading
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest
import torch

from martensite.artifacts.attest import Subject, append_claim, make_claim, predicate_of
from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Keyring, Trust, sign_model
from martensite.models import build
from martensite.serving import Fleet, Observer, ServeConfig, create_app
from martensite.serving.run import Server, bind, uvicorn_config
from martensite.threat import ThreatModel

WORDS = "a passphrase of words"
POLICY = "require: {release: {max_age_days: 30}, approval: {people: 1}}\n"


class Recorder(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.batches, self.replies, self.changes = [], [], []

    def batch(self, batch):
        self.batches.append(batch)

    def reply(self, reply):
        self.replies.append(reply)

    def change(self, change):
        self.changes.append(change)


def tiny(seed, width=4):
    """Sixteen inputs, three classes."""
    model = build({"kind": "mlp", "hidden": [width]}, (1, 4, 4), 3, seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


@pytest.fixture(scope="session")
def yard(tmp_path_factory):
    """A keyring of three people, whom to trust, a policy, and two signed bundles with claims: `one` and `two`."""
    folder = tmp_path_factory.mktemp("yard")
    ring = Keyring(folder / "keys")
    trust = Trust()
    for name, owner in {"release": "Rex", "approver": "Ann", "thief": "Tom"}.items():
        ring.new(name, WORDS, role="approver" if name == "approver" else "release", owner=owner)
        if name != "thief":
            trust = trust.with_record(ring.record(name))
    trust.save(folder / "trust.yaml")
    (folder / "policy.yaml").write_text(POLICY)
    yard = SimpleNamespace(folder=folder, ring=ring, trust=trust)

    def prove(bundle, version=1, age=0, key="release", claims=True):
        sign_model(bundle, ring, WORDS, key=key)
        subject = Subject.of(bundle)
        given = {"release": {"name": "tiny", "version": version}, "approval": {"reason": "read"}}
        for kind, who in (("release", "release"), ("approval", "approver")) if claims else ():
            predicate = predicate_of(kind, subject, None, given[kind], now() - timedelta(days=age))
            path = bundle.with_name(bundle.name + ".claims.jsonl")
            append_claim(path, make_claim(subject, predicate, ring.private(WORDS, who)), bundle=bundle)

    def bundle(place, seed=1, **asked):
        save_bundle(tiny(seed), place, threat=ThreatModel(norm="linf", eps=0.1))
        prove(place, **asked)
        return place

    yard.prove, yard.bundle = prove, bundle
    bundle(folder / "one", 1, version=1)
    bundle(folder / "two", 2, version=2)
    return yard


@pytest.fixture
def here(yard, tmp_path):
    """A folder of this test's own with the yard's files in it, and ways to serve them."""
    for path in yard.folder.iterdir():
        if path.name != "keys":
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    here = SimpleNamespace(folder=tmp_path, yard=yard, one=tmp_path / "one", two=tmp_path / "two", trust=tmp_path / "trust.yaml")
    here.evidence = {"policy": str(tmp_path / "policy.yaml"), "trust": str(here.trust)}

    def config(**changes):
        model = {"name": "tiny", "bundle": str(here.one), "evidence": here.evidence, **changes.pop("model", {})}
        return ServeConfig.parse({"models": [model, *changes.pop("more", [])], "port": 0, "threads": 1, **changes})

    def put(other, place=None):
        """Another bundle, with signature and claims, in the place of `one`."""
        place = place or here.one
        shutil.rmtree(place)
        shutil.copytree(other, place)
        for suffix in (".sig", ".claims.jsonl"):
            shutil.copy(other.with_name(other.name + suffix), place.with_name(place.name + suffix))

    def made(name, shape=(1, 6, 6), classes=3, version=3, seed=3, **saved):
        """Another signed bundle, of other inputs."""
        model = build({"kind": "mlp", "hidden": [4]}, shape, classes, seed=seed).eval()
        save_bundle(model, tmp_path / name, **saved)
        yard.prove(tmp_path / name, version)
        return tmp_path / name

    here.config, here.put, here.made = config, put, made
    here.model = load_bundle(here.one)
    return here


@pytest.fixture
def fleets():
    """Makes fleets that are loaded, and ends them."""
    made = []

    def make(config, *observers):
        fleet = Fleet(config, observers)
        made.append(fleet)
        fleet.load()
        return fleet

    yield make
    for fleet in made:
        fleet.close()


@pytest.fixture
def served(here, fleets):
    """A fleet behind a client without sockets: ``client.get``, ``client.infer(x)``; ``fleet``, ``recorder``."""
    clients = []

    def make(config=None, **changes):
        recorder = Recorder()
        fleet = fleets(config or here.config(**changes), recorder)
        portal = Portal(create_app(fleet))
        clients.append(portal)
        return SimpleNamespace(
            fleet=fleet, recorder=recorder, get=portal.get, post=portal.post, infer=portal.infer, portal=portal
        )

    yield make
    for portal in clients:
        portal.close()


@pytest.fixture(scope="session")
def plain(yard):
    """A server that nothing is changed of."""
    evidence = {"policy": str(yard.folder / "policy.yaml"), "trust": str(yard.folder / "trust.yaml")}
    fleet = Fleet(ServeConfig.parse({"models": [{"name": "tiny", "bundle": str(yard.folder / "one"), "evidence": evidence}]}))
    fleet.load()
    portal = Portal(create_app(fleet))
    yield SimpleNamespace(get=portal.get, post=portal.post, infer=portal.infer, request=portal.request)
    portal.close()
    fleet.close()


class Portal:
    """The application without a socket; its event loop runs in a thread, so that several requests can be under way."""

    def __init__(self, app):
        import asyncio

        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
        )

    def start(self, coroutine):
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def get(self, path, **how):
        return self.start(self.client.get(path, **how)).result(60)

    def post(self, path, **how):
        return self.start(self.client.post(path, **how)).result(60)

    def request(self, request):
        return self.start(self.client.send(request)).result(60)

    def infer(self, x, model="tiny", version=None, headers=None, **document):
        place = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        return self.post(f"{place}/infer", json={"inputs": [tensor(x)], **document}, headers=headers)

    def close(self):
        self.start(self.client.aclose()).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def tensor(x):
    """An input as JSON."""
    x = torch.as_tensor(x)
    return {"name": "input", "datatype": "FP32", "shape": list(x.shape), "data": x.flatten().tolist()}


@pytest.fixture(name="tensor")
def _tensor():
    return tensor


@pytest.fixture
def listening(here):
    """A server on a real socket of this machine: its URL."""
    running = []

    def start(config=None, *observers, **changes):
        config = config or here.config(**changes)
        fleet = Fleet(config, observers)
        fleet.load()
        listener = bind(config)
        server = Server(uvicorn_config(config, fleet), fleet)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started and thread.is_alive():
            thread.join(0.02)
        host, port = listener.getsockname()[:2]
        scheme = "https" if config.tls else "http"
        return SimpleNamespace(url=f"{scheme}://{host}:{port}", address=(host, port), fleet=fleet, server=server, thread=thread)

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def x():
    """Some inputs."""
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
