"""keys, sign and verify on the command line."""

import json
import os
import subprocess
import sys

import pytest

WORDS = "a passphrase of words"


@pytest.fixture
def shop(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", WORDS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("weights")
    assert call("keys", "new", "rel", "--owner", "Ada").code == 0
    assert call("keys", "export", "rel", "--out", "rel.pub", "--trust", "trust.yaml").code == 0
    return tmp_path


def test_sign_and_verify(shop, call, call_json):
    assert call("sign", "model").code == 0
    document = call_json("verify", "model", "--trust", "trust.yaml").document
    assert document["signer"] == "rel (Ada)"
    assert call("verify", "model", "--key", "rel.pub").code == 0
    (shop / "model" / "weights").write_text("other")
    result = call("verify", "model", "--trust", "trust.yaml")
    assert result.code == 1
    assert "weights was altered" in result.err


def test_keys_are_listed_used_rotated_and_revoked(shop, call, call_json):
    call("keys", "new", "eve", "--role", "evaluator")
    assert call("keys", "use", "eve").code == 0
    document = call_json("keys", "list").document
    assert document["default"] == "eve"
    assert [(key["name"], key["role"], key["state"]) for key in document["keys"]] == [
        ("eve", "evaluator", "active"),
        ("rel", "release", "active"),
    ]
    assert "BEGIN PUBLIC KEY" in call("keys", "export", "rel").out
    call("sign", "model", "--key", "rel")
    assert call("keys", "rotate", "rel", "--trust", "trust.yaml").code == 0
    assert call("verify", "model", "--trust", "trust.yaml").code == 1  # its signature states no time: sign anew
    call("sign", "model", "--key", "rel")
    assert call("verify", "model", "--trust", "trust.yaml").code == 0
    assert call("keys", "revoke", "rel", "--reason", "lost", "--trust", "trust.yaml").code == 0
    result = call("verify", "model", "--trust", "trust.yaml")
    assert result.code == 1
    assert "was revoked" in result.err
    assert "rel" in call("keys", "list").out


def test_a_passphrase_comes_from_a_file_or_the_environment_only(shop, call, monkeypatch):
    monkeypatch.delenv("MARTENSITE_PASSPHRASE")
    result = call("sign", "model")
    assert result.code == 2
    assert "there is no passphrase" in result.err
    (shop / "secret").write_text(WORDS + "\nsecond line")
    assert call("sign", "model", "--passphrase-file", "secret").code == 0
    (shop / "secret").write_text("something else")
    assert "can't be opened" in call("sign", "model", "--passphrase-file", "secret").err
    assert call("sign", "model", "--passphrase", WORDS).code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("keys new rel", "already"),
        ("keys new x --role boss", "there is no role 'boss'"),
        ("keys revoke rle --reason x", "did you mean 'rel'"),
        ("keys nwe x", "nwe"),
        ("keys revoke rel", "--reason"),
        ("sign nothing", "nothing"),
        ("sign model --key nobody", "there is no key 'nobody'"),
        ("verify model --key rel.pub", "can't be read"),
        ("verify model", "give --key PUB, --trust FILE, --certificate-chain FILE"),
        ("verify model --key model/weights --signature rel.pub", "no public key"),
        ("verify model --identity ada@example.org", "one source"),
        ("verify model --trust trust.yaml --identity ada@example.org", "leave --identity out"),
        ("verify model --identity-provider https://example.org", "add --identity WHO"),
        ("verify model --trust trust.yaml --offline", "it needs --identity-provider"),
        ("verify model --certificate-chain rel.pub", "holds no certificate"),
        ("sign model --certificate rel.pub", "holds no certificate"),
        ("sign model --sigstore --key rel", "in one way"),
        ("sign model --identity-token rel.pub", "it needs --sigstore"),
        ("sign model --sigstore --identity-token nothing", "can't be read"),
        ("sign model --sigstore --sigstore-config rel.pub", "no client trust configuration"),
        ("keys new x --token token=x", "begins with pkcs11:"),
        ("sign model --key pkcs11:token=x;object=y", "has this URI"),
    ],
)
def test_what_is_refused(words, expected, shop, call):
    result = call(*words.split())
    assert result.code == 2
    assert expected in result.err
    assert len(result.err.splitlines()) == 1


def test_by_certificate(shop, call, call_json):
    config = "[req]\ndistinguished_name=d\n[d]\n[x]\nkeyUsage=digitalSignature\nsubjectAltName=email:ada@example.org\n"
    (shop / "x.cnf").write_text(config)
    pem = shop / "config" / "martensite" / "keys" / "rel.pem"
    words = ("openssl", "req", "-x509", "-key", pem, "-passin", f"pass:{WORDS}", "-subj", "/CN=Ada", "-config", "x.cnf")
    subprocess.run([*words, "-extensions", "x", "-out", "ada.crt"], check=True, capture_output=True)
    assert call("sign", "model", "--certificate", "ada.crt").code == 0
    words = ("verify", "model", "--certificate-chain", "ada.crt")
    assert call_json(*words, "--identity", "ada@example.org").document["signer"] == "ada@example.org"
    result = call(*words, "--identity", "eve@example.org")
    assert result.code == 1
    assert "signed by ada@example.org" in result.err
    assert call("verify", "model", "--trust", "trust.yaml").code == 0


def test_digests_are_reused_where_a_policy_allows_it(shop, call, call_json, monkeypatch):
    monkeypatch.setattr("martensite.artifacts.signing.digests.SETTLED", -1e9)
    monkeypatch.setenv("MARTENSITE_CACHE", str(shop / "cache"))
    (shop / "lax.yaml").write_text("require: {scan: {}}\nverification: {reuse_hours: 1}\n")
    call("sign", "model")
    words = ("verify", "model", "--trust", "trust.yaml")
    assert [call_json(*words, "--policy", policy).document["reused"] for policy in ("strict", "strict")] == [0, 0]
    assert not (shop / "cache").exists()
    assert [call_json(*words, "--policy", "lax.yaml").document["reused"] for _ in range(2)] == [0, 1]
    assert call_json(*words).document["reused"] == 0
    assert "1 of them not read again" in call(*words, "--policy", "lax.yaml").out
    (shop / "model" / "weights").write_text("WEIGHTS")
    assert "was altered" in call(*words, "--policy", "lax.yaml").err
    (shop / "cache" / "digests").chmod(0o777)
    result = call(*words, "--policy", "lax.yaml")
    assert result.code == 2
    assert "open to others" in result.err


def test_json_never_holds_a_private_part(shop, call_json):
    for words in ("keys list", "keys export rel", "keys rotate rel"):
        assert "PRIVATE" not in json.dumps(call_json(*words.split()).document)
    assert os.stat(shop / "config" / "martensite" / "keys" / "rel.pem").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", ["sign model", "verify model --key rel.pub"])
def test_signing_and_verifying_do_not_wait_for_torch(words, shop, call):
    call("sign", "model")
    code = f"import sys\nfrom martensite.cli.main import main\ntry: main({words.split()})\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert result.stdout.splitlines()[-1] == "False"
