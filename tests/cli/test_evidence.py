"""From keys to the gate on the command line: what a release looks like, end to end."""

import json
import shutil

import pytest

WORDS = "a passphrase of words"
KEYS = {"rel": ("release", "Rex"), "eva": ("evaluator", "Eva"), "ann": ("approver", "Ann"), "gus": ("gate", "Gus")}


@pytest.fixture
def shop(digits_run, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", WORDS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    shutil.copytree(digits_run / "model", tmp_path / "model")
    shutil.copy(digits_run / "report.json", tmp_path / "report.json")
    for name, (role, owner) in KEYS.items():
        assert call("keys", "new", name, "--role", role, "--owner", owner).code == 0
        assert call("keys", "export", name, "--trust", "trust.yaml").code == 0
    assert call("sign", "model", "--key", "rel").code == 0
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "bare.json").write_text(call("scan", "model", "--json", "--no-digests").out)
    (tmp_path / "scan.json").write_text(call("scan", "model", "--json").out)
    return tmp_path


GATE = ("gate", "model", "--trust", "trust.yaml", "--policy", "default")


def test_a_release(shop, call, call_json):
    result = call(*GATE, "--claims", "model.claims.jsonl")
    assert result.code == 2  # no claims yet
    assert call("attest", "model", "--type", "scan", "scan.json", "--key", "eva").code == 0
    result = call(*GATE)
    assert result.code == 1
    assert "there is no robustness claim" in result.out
    assert call("attest", "model", "report.json", "--key", "eva").code == 0
    release = ("attest", "model", "--type", "release", "--set", "name=digits", "--set", "version=1")
    document = call_json(*release, "--key", "rel").document
    assert document["type"] == "https://martensite/release/v1"
    assert call("approve", "model", "--reason", "read it", "--key", "ann").code == 0
    result = call(*GATE, "--versions", "versions.json", "--key", "gus")
    assert result.code == 0, result.out
    assert result.out.startswith("PASS\n")
    document = call_json(*GATE, "--versions", "versions.json").document
    assert document["verdict"] == "PASS"
    assert len((shop / "model.claims.jsonl").read_text().splitlines()) == 5
    assert json.loads((shop / "versions.json").read_text())["digits"]["version"] == 1
    result = call(*GATE, "--serving", "dtype=bfloat16")
    assert result.code == 1
    assert "to serve as bfloat16" in result.out
    (shop / "waivers.yaml").write_text("- {rule: robustness.serving, owner: Boss, reason: trial, expires: 2999-01-01}\n")
    assert call(*GATE, "--serving", "dtype=bfloat16", "--waivers", "waivers.yaml").code == 0
    assert call("keys", "revoke", "eva", "--reason", "lost", "--trust", "trust.yaml").code == 0
    result = call(*GATE)
    assert result.code == 1
    assert "was revoked" in result.out
    (shop / "model" / "model.json").write_text("{}")
    assert call(*GATE, "--serving", "dtype=bfloat16").code == 1
    result = call(*GATE, "--key", "gus")
    assert result.code == 1
    assert "model.json was altered" in result.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gate model", "no --trust was given"),
        ("gate model --trust trust.yaml --policy strickt", "did you mean 'strict'"),
        ("gate model --trust trust.yaml --min-clean-accuracy 0.5", "thresholds are for a report"),
        ("gate model --trust trust.yaml --key rel", "is no gate's"),
        ("gate model --trust trust.yaml --serving dtpe=x", "did you mean 'dtype'"),
        ("gate model --trust scan.json", "scan.json: Trust"),
        ("gate model --trust empty.yaml", "empty.yaml is empty"),
        ("attest model --type scan bare.json --key eva", "bare.json has no SHA-256 of"),
        ("attest model report.json --key rel", "robustness is claimed by a key of the role evaluator"),
        ("attest model --type robustnes report.json --key eva", "did you mean 'robustness'"),
        ("attest model scan.json --key eva", "no RobustnessReport"),
        ("attest model report.json --key eva --claims model/claims.jsonl", "lies inside"),
        ("attest report.json --type release --key rel", "a bundle is a folder"),
        ("approve model --reason x --key eva", "claimed by a key of the role approver"),
        ("policy test nothing", "there is no policy 'nothing'"),
    ],
)
def test_what_is_refused(words, expected, shop, call):
    result = call(*words.split())
    assert result.code == 2
    assert expected in result.err
    assert len(result.err.splitlines()) == 1
    assert not (shop / "model.claims.jsonl").exists()


def test_policies_are_tested_and_shown(shop, call, call_json):
    assert call("policy", "test", "strict").code == 0
    assert call_json("policy", "test", "default").document["wrong"] == 0
    assert call("policy", "show", "research").out.startswith("package martensite.policy")
    (shop / "mine.rego").write_text(call("policy", "show", "research").out)
    (shop / "mine.examples.yaml").write_text("examples: [{name: all, expect: PASS}, {name: wrong, expect: FAIL}]")
    result = call("policy", "test", "mine.rego")
    assert result.code == 1
    assert "PASS instead of FAIL" in result.out
