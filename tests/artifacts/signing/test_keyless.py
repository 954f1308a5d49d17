"""Keyless signatures: a real one of the public Sigstore, verified without a network, and what is said where one is needed.

`vectors/keyless.sig` is the signature of two files by the identity below, from the tests of sigstore/model-transparency
(v1.0.1-sigstore; Apache-2.0): it stands in Rekor as entry 588939812.
"""

import base64
import json
import socket
from pathlib import Path

import pytest

from martensite.artifacts.signing import Authorities, Identity, PrivateKey, Sigstore, sign_keyless, sign_model, verify_model
from martensite.artifacts.signing.dsse import read_envelope
from martensite.core.errors import ArtifactError, ConfigError, SignatureError

VECTOR = Path(__file__).parent / "vectors" / "keyless.sig"
WHO, PROVIDER = "stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """sigstore keeps what it fetched in the user's folders."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.fixture
def signed(tmp_path, home):
    folder = tmp_path / "signed"
    folder.mkdir()
    for name in ("signme-1", "signme-2"):
        (folder / name).write_text(name)
    signature = tmp_path / "signed.sig"
    signature.write_bytes(VECTOR.read_bytes())
    return folder


@pytest.fixture
def alone(monkeypatch):
    """No network, whatever the machine has."""

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def believed():
    return Identity(WHO, PROVIDER, Sigstore(offline=True))


def test_a_real_signature(signed, believed, alone):
    result = verify_model(signed, believed)
    assert sorted(result.files) == ["signme-1", "signme-2"]
    assert result.signer == f"{WHO} ({PROVIDER})"


@pytest.mark.parametrize(
    "believed",
    [
        Identity("eve@us.ibm.com", PROVIDER, Sigstore(offline=True)),
        Identity(WHO, "https://accounts.google.com", Sigstore(offline=True)),
        Identity("", PROVIDER, Sigstore(offline=True)),
    ],
)
def test_another_identity_or_provider(believed, signed, alone):
    with pytest.raises(SignatureError, match="is not signed by"):
        verify_model(signed, believed)


def test_our_own_rules_hold_for_it(signed, believed, alone):
    (signed / "signme-1").write_text("signme-l")
    with pytest.raises(SignatureError, match="was altered"):
        verify_model(signed, believed)
    (signed / "signme-1").write_text("signme-1")
    (signed / ".gitignore").write_text("*")
    with pytest.raises(SignatureError, match="is not signed"):
        verify_model(signed, believed)
    (signed / ".gitignore").unlink()
    (signed / "folder").mkdir()
    with pytest.raises(ArtifactError, match="empty folder"):
        verify_model(signed, believed)


def _payload(bundle):
    content = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"signme-2", b"signme-3")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(content).decode()


def _signature(bundle):
    sig = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    sig[20] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(bytes(sig)).decode()


def _no_log(bundle):
    bundle["verificationMaterial"]["tlogEntries"] = []


def _another_time(bundle):
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1859851228"


def _another_certificate(bundle):
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(b"\x30\x03\x02\x01\x00").decode()


def _no_material(bundle):
    del bundle["verificationMaterial"]["certificate"]


def _two_materials(bundle):
    bundle["verificationMaterial"]["publicKey"] = {"hint": "0" * 64}


@pytest.mark.parametrize(
    "change", [_payload, _signature, _no_log, _another_time, _another_certificate, _no_material, _two_materials]
)
def test_an_altered_signature(change, signed, believed, alone):
    path = signed.with_name("signed.sig")
    bundle = json.loads(path.read_text())
    change(bundle)
    path.write_text(json.dumps(bundle))
    with pytest.raises(SignatureError):
        verify_model(signed, believed)


def test_its_key_is_nobodys(signed, alone):
    """The key lived for minutes: by itself it says nothing, and no authority of ours gave it."""
    envelope = read_envelope(VECTOR.read_bytes(), "it")
    assert len(envelope.certificates) == 1
    with pytest.raises(SignatureError, match="isn't believed"):
        verify_model(signed, Authorities(()))
    with pytest.raises(SignatureError):
        verify_model(signed, PrivateKey.new().public)


def test_a_signature_by_a_key_is_no_keyless_one(model, ring, passphrase, believed, home, alone):
    sign_model(model, ring, passphrase, key="release")
    with pytest.raises(SignatureError, match="is not signed by"):
        verify_model(model, believed)


def test_without_a_network_the_error_says_what_to_do(signed, model, alone):
    with pytest.raises(ArtifactError, match="--offline"):
        verify_model(signed, Identity(WHO, PROVIDER))
    with pytest.raises(ArtifactError, match="sign with --key"):
        sign_keyless(model, Sigstore())
    assert not model.with_name("model.sig").exists()


def test_nobody_says_who_signs(model, alone, home):
    with pytest.raises(ConfigError, match="--identity-token"):
        sign_keyless(model, Sigstore(offline=True))
    with pytest.raises(ArtifactError, match="sign with --key"):
        sign_keyless(model, Sigstore(offline=True), token="no.jwt.atall")


def test_a_configuration_that_is_none(signed, tmp_path, alone):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no client trust configuration"):
        verify_model(signed, Identity(WHO, PROVIDER, Sigstore(config=tmp_path / "config.json")))
