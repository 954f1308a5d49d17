"""Keys in tokens on the command line: the PIN comes from where a passphrase comes from, and is nowhere else."""

import json

import pytest

from martensite.artifacts import save_bundle
from martensite.models import build

PIN = "123456"


@pytest.fixture
def shop(tmp_path, monkeypatch, call, tokens):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", PIN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("weights")
    assert call("keys", "new", "hsm", "--token", tokens["release"], "--owner", "Ada").code == 0
    assert call("keys", "export", "hsm", "--out", "hsm.pub", "--trust", "trust.yaml").code == 0
    return tmp_path


def test_sign_by_name_and_by_uri(shop, call, call_json, tokens):
    for key in ((), ("--key", "hsm"), ("--key", tokens["release"])):
        assert call("sign", "model", *key).code == 0
        assert call_json("verify", "model", "--trust", "trust.yaml").document["signer"] == "hsm (Ada)"
    assert call("verify", "model", "--key", "hsm.pub").code == 0


def test_list_use_export_rotate_revoke(shop, call, call_json, tokens, monkeypatch):
    (key,) = call_json("keys", "list").document["keys"]
    assert key["token"] == tokens["release"]
    assert "token" in call("keys", "list").out
    assert call("keys", "new", "eve", "--token", tokens["evaluator"], "--role", "evaluator").code == 0
    monkeypatch.delenv("MARTENSITE_PASSPHRASE")
    assert call("keys", "use", "eve").code == 0  # neither this nor export asks for the PIN
    assert "BEGIN PUBLIC KEY" in call("keys", "export", "eve").out
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", PIN)
    assert call("keys", "rotate", "hsm", "--token", tokens["large"], "--trust", "trust.yaml").code == 0
    call("sign", "model", "--key", "hsm")
    assert call("verify", "model", "--trust", "trust.yaml").code == 0
    result = call("keys", "revoke", "hsm", "--reason", "lost", "--trust", "trust.yaml")
    assert "stays until the token's own tool deletes it" in result.out
    assert "was revoked" in call("verify", "model", "--trust", "trust.yaml").err


def test_a_claim_and_an_approval(shop, call, tokens):
    call("keys", "new", "ann", "--token", tokens["evaluator"], "--role", "approver")
    bundle, claims = save_bundle(build("mlp", (2,), 2), shop / "bundle"), shop / "claims.jsonl"
    assert call("approve", bundle, "--reason", "read", "--key", "ann", "--claims", claims).code == 0
    words = ("attest", bundle, "--type", "release", "--set", "name=m", "--set", "version=1")
    assert call(*words, "--key", tokens["release"], "--claims", claims).code == 0
    assert len(claims.read_text().splitlines()) == 2


def test_the_pin_is_kept_nowhere_and_taken_from_no_uri(shop, call, tokens, monkeypatch):
    for path in (shop / "config").rglob("*"):
        assert not path.is_file() or PIN not in path.read_text()
    result = call("keys", "new", "x", "--token", tokens["release"] + "&pin-value=" + PIN)
    assert result.code == 2
    assert PIN not in result.err
    monkeypatch.delenv("MARTENSITE_PASSPHRASE")
    result = call("sign", "model")
    assert result.code == 2
    assert "there is no PIN" in result.err
    (shop / "pin").write_text(PIN + "\n")
    assert call("sign", "model", "--passphrase-file", "pin").code == 0
    (shop / "pin").write_text("999999\n")
    result = call("sign", "model", "--passphrase-file", "pin")
    assert result.code == 2
    assert "the PIN is wrong" in result.err


def test_json_of_a_new_key(shop, call, tokens):
    document = json.loads(call("keys", "new", "large", "--token", tokens["large"], "--json").out)
    assert document["token"] == tokens["large"]
    assert document["role"] == "release"
