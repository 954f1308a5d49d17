import json
import shutil

import pytest

from martensite.artifacts.attest import Subject, append_claim, make_claim, predicate_of
from martensite.artifacts.moments import now
from martensite.artifacts.signing import PrivateKey, Trust, TrustedKey

ROLES = ("release", "evaluator", "approver", "gate")


@pytest.fixture(scope="session")
def keys():
    return {role: PrivateKey.new() for role in ROLES}


@pytest.fixture(scope="session")
def trust(keys):
    return Trust(
        keys=tuple(TrustedKey(name=one, owner=f"{one}'s owner", roles=(one,), public=keys[one].public.pem) for one in ROLES)
    )


@pytest.fixture
def bundle(digits_run, tmp_path):
    shutil.copytree(digits_run / "model", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def scan_report(tmp_path):
    def make(subject, severity="clean"):
        files = [{"path": name, "digest": f"sha256:{digest}", "severity": severity} for name, digest in subject.files.items()]
        path = tmp_path / "scan.json"
        path.write_text(json.dumps({"format": "martensite-scan-1", "files": files, "findings": [], "seconds": 0.1}))
        return path

    return make


@pytest.fixture
def claims(bundle, digits_run, keys, tmp_path, scan_report):
    """Every kind of claim about the bundle, by whom it takes."""
    subject, path = Subject.of(bundle), tmp_path / "claims.jsonl"
    bom = tmp_path / "bom.json"
    bom.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}))
    report = digits_run / "report.json"
    for kind, source, given, role in (
        ("robustness", report, {}, "evaluator"),
        ("certification", report, {}, "evaluator"),
        ("scan", scan_report(subject), {}, "evaluator"),
        ("privacy", None, {"report": "sha256:0", "epsilon": 3.0, "delta": 1e-5, "accountant": "pld"}, "evaluator"),
        ("training", report, {"commit": "a" * 40}, "release"),
        ("data", report, {}, "release"),
        ("bom", bom, {}, "release"),
        ("release", None, {"name": "digits", "version": 1}, "release"),
        ("approval", None, {"reason": "read it"}, "approver"),
    ):
        predicate = predicate_of(kind, subject, source, given, now())
        append_claim(path, make_claim(subject, predicate, keys[role]), bundle=bundle)
    return path
