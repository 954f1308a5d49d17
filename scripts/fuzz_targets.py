"""What is fuzzed: everything that reads a stranger's bytes. Each target takes bytes and may raise nothing but `MartensiteError`.

Under `guarded` whatever would mean that they act (code that runs, a process, a connection, a library that is loaded, a
file that is written where none belongs) ends with `Acted`, at the moment when it happens: Python's audit events (PEP 578) tell.
"""

import atexit
import encodings
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric import ec

from martensite.artifacts.attest.claims import read_claims
from martensite.artifacts.attest.predicates import Serving
from martensite.artifacts.attest.subject import Subject
from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.moments import now
from martensite.artifacts.scan.limits import Limits
from martensite.artifacts.scan.scanner import look
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Run, Visit
from martensite.artifacts.signing import Authorities, KeyRecord, PrivateKey, Trust, TrustedKey
from martensite.artifacts.signing.dsse import STATEMENT, pae, read_envelope, read_object, seal
from martensite.artifacts.signing.statement import model_digests, model_statement
from martensite.artifacts.signing.token_uri import TokenUri
from martensite.core.errors import MartensiteError
from martensite.core.files import sha256
from martensite.models import build

ROOT = Path(__file__).resolve().parent.parent
SMALL = Limits(unpacked=2 * 2**20, members=200, depth=4)
ACTS = (
    "exec", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class", "marshal.load", "marshal.loads",
    "ctypes.dlopen", "ctypes.call_function", "urllib.Request", "os.remove", "os.rename", "os.chmod", "os.symlink", "os.link",
    "webbrowser.open",
)  # fmt: skip
HOME = Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)


class Acted(BaseException):
    """A stranger's bytes made something happen; no handler of errors may catch this."""


_guard = SimpleNamespace(on=False, hooked=False)


def prepare(name: str) -> list[bytes]:
    """The seeds of a target, once run: what is imported late is imported before anything is watched."""
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem"):  # Windows' own
            importlib.import_module(f"encodings.{module.name}")
    seeds = TARGETS[name][1]()
    for seed in seeds:
        TARGETS[name][0](seed)
    return seeds


@contextmanager
def guarded() -> Iterator[None]:
    """While it lasts, acts end with `Acted`."""
    if not _guard.hooked:
        sys.addaudithook(_heard)
        _guard.hooked = True
    _guard.on = True
    try:
        yield
    finally:
        _guard.on = False


def _heard(event: str, given: tuple[object, ...]) -> None:
    if not _guard.on:
        return
    writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
    if writes and not isinstance(given[0], int) and not str(given[0]).startswith(tempfile.gettempdir()):
        raise Acted(f"{event} {given!r}"[:300])
    if event in ACTS and not (
        event in ("os.remove", "os.rename", "os.chmod") and str(given[0]).startswith(tempfile.gettempdir())
    ):
        _guard.on = False
        raise Acted(f"{event} {given!r}"[:300])


# ---- the scanner


def scanner(data: bytes) -> None:
    """Any bytes get a verdict, by formats that don't stumble over them."""
    run = Run(SMALL, look, lambda: None)
    look(Visit("fuzz", Source(io.BytesIO(data), 0, len(data)), run))
    if stumbled := [finding.reason for finding in run.findings if finding.kind == "unparsable"]:
        raise AssertionError(stumbled[0])


def scanner_seeds() -> list[bytes]:
    path = ROOT / "tests" / "artifacts" / "scan" / "conftest.py"
    spec = importlib.util.spec_from_file_location("scan_files", path)
    if spec is None or spec.loader is None:
        return []
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [content for content, *_ in module.hostile(HOME / "canary").values() if len(content) < 20_000]


# ---- bundles


def _bundle() -> dict[str, bytes]:
    folder = HOME / "bundle"
    if not folder.exists():
        save_bundle(build("mlp", (2,), 2), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bundle(data: bytes) -> None:
    """The first byte says which file the others are; model.json knows of the weights, so that these are read to the end."""
    files = _bundle()
    if not data:
        return
    if data[0] % 3 == 0:
        files["model.json"] = data[1:]
    elif data[0] % 3 == 1:
        files["model.safetensors"] = data[1:]
    else:
        files["preprocess.json"] = data[1:]
    with suppress(
        ValueError, LookupError, AttributeError, TypeError, RecursionError
    ):  # of json, where model.json itself is fuzzed
        document = json.loads(files["model.json"])
        document["files"] |= {name: sha256(content) for name, content in files.items() if name not in ("model.json", "card.md")}
        files["model.json"] = json.dumps(document).encode()
    place = HOME / f"work-{os.getpid()}"
    place.mkdir(exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    with suppress(MartensiteError):
        load_bundle(place)


def bundle_seeds() -> list[bytes]:
    files = _bundle()
    preprocess = json.dumps({"size": [2, 2], "interpolation": "nearest", "levels": [0.0, 1.0]}).encode()
    return [b"\0" + files["model.json"], b"\1" + files["model.safetensors"], b"\2" + preprocess]


# ---- signatures, keys and whom to trust

KEY = PrivateKey(ec.derive_private_key(1, ec.SECP256R1()))  # the same each time, so that what was found is found again


def signature(data: bytes) -> None:
    """The first byte says what the others are: a bundle as it came, a signed payload, certificates, a key, trust.yaml, a URI."""
    kind, rest = data[:1], data[1:]
    text = rest.decode("utf-8", "replace")
    with suppress(MartensiteError):
        if kind == b"E":
            envelope = read_envelope(rest, "it")
            model_digests(envelope.open(KEY.public))
        elif kind == b"P":
            model_digests(read_object(rest, "it"))
        elif kind == b"C":
            statement = model_statement("m", {".": "0" * 64})
            envelope = read_envelope(seal(statement, KEY, tuple(rest.split(b"\0\0\0\0")[:12])), "it")
            Authorities(()).signer(envelope)
        elif kind == b"K":
            KEY.public.parse(text, "it").signed(rest, pae(rest))
        elif kind == b"R":
            with suppress(ValueError):  # the keyring's to explain
                KeyRecord.model_validate_json(rest)
        elif kind == b"U":
            TokenUri.parse(text)
        else:
            Trust.from_yaml(text)


def signature_seeds() -> list[bytes]:
    statement = model_statement("m", {"a": "0" * 64, "b": "1" * 64})
    keyless = (ROOT / "tests" / "artifacts" / "signing" / "vectors" / "keyless.sig").read_bytes()
    trust = Trust(keys=(TrustedKey(name="k", owner="o", roles=("release",), public=KEY.public.pem),))
    trust.save(HOME / "trust.yaml")
    record = KeyRecord(name="k", role="release", owner="o", id=KEY.public.id, public=KEY.public.pem, created=now())
    return [
        b"E" + seal(statement, KEY).encode(), b"E" + keyless, b"P" + json.dumps(statement).encode(),
        b"C" + read_envelope(keyless, "it").certificates[0], b"K" + KEY.public.pem.encode(),
        b"R" + record.model_dump_json().encode(),
        b"U" + f"pkcs11:token=a;id=%00?module-path={__file__}".encode(), b"T" + (HOME / "trust.yaml").read_bytes(),
    ]  # fmt: skip


# ---- claims

ROLES = ("release", "evaluator", "approver", "gate")
TRUST = Trust(keys=(TrustedKey(name="k", owner="o", roles=ROLES, public=KEY.public.pem),))
SUBJECT = Subject("m", {"a": "0" * 64}, "0" * 64, "1" * 64, Serving(dtype="float32"))
MOMENT = datetime.fromisoformat("2026-01-02T00:00:00Z")


def claims(data: bytes) -> None:
    """The first byte says whether a line is as it came, or a statement under a signature that holds."""
    line = data[1:]
    if data[:1] == b"S":
        with suppress(ValueError, RecursionError):
            line = seal(json.loads(line), KEY).encode()
    path = HOME / f"claims-{os.getpid()}.jsonl"
    path.write_bytes(line)
    with suppress(MartensiteError):
        for claim in read_claims(path, SUBJECT, TRUST, MOMENT):
            if not claim.refusal and not (claim.predicate and claim.key):
                raise AssertionError(f"a claim counts that says nothing: {claim}")


def claims_seeds() -> list[bytes]:
    seeds = [b"L" + b"\n".join([b"{}", b"junk"])]
    subject = [{"name": "m", "digest": {"sha256": "0" * 64, "martensiteModel1": "1" * 64}}]
    made = {"created": "2026-01-01T00:00:00Z"}
    rate = {"count": 1, "n": 2, "value": 0.5, "low": 0.1, "high": 0.9}
    for kind, content in (
        ("release", {"name": "m", "version": 1}), ("approval", {"reason": "read"}),
        ("privacy", {"report": "sha256:0", "epsilon": 1.0, "delta": 0.1, "accountant": "pld"}),
        ("scan", {"report": "sha256:0", "scanner": "x", "files": {"0": "clean"}, "findings": []}),
        ("robustness", {"clean_accuracy": rate, "robust_accuracy": rate}),
        ("bom", {"bom": {"bomFormat": "CycloneDX", "specVersion": "1.6"}}), ("data", {"data": []}),
    ):  # fmt: skip
        statement = {
            "_type": STATEMENT,
            "subject": subject,
            "predicateType": f"https://martensite/{kind}/v1",
            "predicate": made | content,
        }
        seeds.append(b"S" + json.dumps(statement).encode())
    return [*seeds, b"L" + seal(statement, KEY).encode()]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "scanner": (scanner, scanner_seeds),
    "bundle": (bundle, bundle_seeds),
    "signature": (signature, signature_seeds),
    "claims": (claims, claims_seeds),
}


def run(name: str, data: bytes) -> None:
    """One input under guard."""
    with guarded():
        TARGETS[name][0](data)


def mutated(data: bytes, number: int) -> bytes:
    """The same bytes with a few changes that ``number`` decides: for where there is no atheris."""
    content = bytearray(data)
    for turn in range(1 + number % 5):
        chance = zlib.crc32(b"%d %d" % (number, turn))
        place, what = chance % max(len(content), 1), chance >> 28
        if what < 6:
            content[place : place + 1] = bytes([chance >> 8 & 255])
        elif what < 9:
            del content[place : place + 1 + (chance >> 16) % 30]
        elif what < 12:
            content[place:place] = content[place // 2 : place // 2 + (chance >> 12) % 100]
        else:
            content[place : place + 4] = b"\xff" * 4
    return bytes(content)
