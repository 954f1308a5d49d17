"""Keys in tokens, with a real one in software: they sign models and claims that others verify, and never come out."""

import json
import subprocess
import sys

import pytest

from martensite.artifacts.attest.claims import make_claim
from martensite.artifacts.signing import Keyring, PublicKey, Trust, sign_model, verify_model
from martensite.artifacts.signing.dsse import read_envelope, seal
from martensite.artifacts.signing.token import TokenKey
from martensite.artifacts.signing.token_uri import TokenUri
from martensite.core.errors import ArtifactError, ConfigError, SignatureError

PIN = "123456"


@pytest.fixture
def chain(tmp_path, tokens):
    """A keyring with keys that are in a token."""
    ring = Keyring(tmp_path / "keys")
    for role in ("release", "evaluator"):
        ring.new(role, PIN, role=role, owner=f"{role}'s owner", token=tokens[role])
    return ring


def test_a_model_signed_in_a_token_is_verified_by_us_and_by_model_signing(chain, model, tmp_path):
    signed = sign_model(model, chain, PIN, key="release")
    record = chain.record("release")
    assert signed.key == record.id
    assert not list(chain.home.glob("*.pem"))
    assert verify_model(model, Trust().with_record(record)).signer == "release (release's owner)"
    (tmp_path / "pub").write_text(record.public)
    words = ("verify", "key", model, "--signature", f"{model}.sig", "--public_key", tmp_path / "pub", "--no-ignore-git-paths")
    done = subprocess.run([sys.executable, "-m", "model_signing", *words], capture_output=True, text=True, check=False)
    assert "Verification succeeded" in done.stdout
    (model / "weights").write_text("other")
    with pytest.raises(SignatureError, match="was altered"):
        verify_model(model, PublicKey.parse(record.public, "it"))


@pytest.mark.parametrize("name", ["release", "large"])
def test_signatures_hold_for_every_curve(name, tokens):
    key = TokenKey.open(tokens[name], PIN)
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": []}
    for number in range(20):  # r and s begin with zeros now and then
        line = seal({**statement, "n": number}, key)
        assert read_envelope(line, "it").open(PublicKey.parse(key.public.pem, "it"))["n"] == number


def test_a_key_is_known_by_name_uri_or_id(chain, tokens):
    assert chain.record(tokens["release"]).name == "release"
    assert chain.private(PIN, tokens["release"]).public.id == chain.record("release").id
    by_id = tokens["release"].replace("object=release", "id=%00")
    assert TokenKey.open(by_id, PIN).public.id == chain.record("release").id
    assert json.loads((chain.home / "release.json").read_text())["token"] == tokens["release"]
    with pytest.raises(ConfigError, match="has this URI"):
        chain.record(tokens["large"])


def test_what_a_token_refuses_says_why(tokens):
    for uri, pin, message in (
        (tokens["release"], "654321", "the PIN is wrong"),
        (tokens["release"], "1", "PIN is"),
        (tokens["rsa"], PIN, "no such pair of keys on an elliptic curve"),
        (tokens["release"].replace("object=release", "object=nobody"), PIN, "no such pair"),
        (tokens["release"].replace("token=hsm", "token=nowhere"), PIN, "0 tokens are named"),
        (tokens["release"].replace("token=hsm", "token=twin"), PIN, "2 tokens are named"),
        (f"pkcs11:token=hsm;object=release?module-path={__file__}", PIN, "can't be used"),
    ):
        with pytest.raises(ArtifactError, match=message):
            TokenKey.open(uri, pin)


def test_two_halves_that_do_not_belong_together_are_not_noted(tokens, tmp_path):
    ring = Keyring(tmp_path / "keys")
    with pytest.raises(ArtifactError, match="not the private part"):
        ring.new("split", PIN, token=tokens["split"])
    assert ring.names() == []


def test_a_key_in_a_token_is_followed_by_another_in_a_token(chain, tokens):
    with pytest.raises(ConfigError, match="is in a token"):
        chain.rotate("release", PIN)
    with pytest.raises(ConfigError, match="itself"):
        chain.rotate("release", PIN, tokens["release"])
    before = chain.record("release")
    after, retired = chain.rotate("release", PIN, tokens["large"])
    assert (after.token, retired.token, retired.id) == (tokens["large"], tokens["release"], before.id)
    with pytest.raises(ConfigError, match="is retired"):
        chain.private(PIN, retired.name)
    chain.revoke("release", "lost")
    with pytest.raises(ConfigError, match="is revoked"):
        chain.private(PIN, "release")


def test_a_record_that_others_can_write_names_no_library(chain):
    (chain.home / "release.json").chmod(0o666)
    with pytest.raises(ArtifactError, match="can be written by others"):
        chain.private(PIN, "release")


def test_a_record_of_another_key_is_refused(chain, tokens):
    path = chain.home / "release.json"
    path.write_text(path.read_text().replace(tokens["release"], tokens["evaluator"]))
    with pytest.raises(ArtifactError, match="another key"):
        chain.private(PIN, "release")


def test_claims_are_signed_in_tokens_too(chain, monkeypatch):
    """`make_claim` takes whatever signs."""

    class Subject:
        def resource(self):
            return {"name": "m", "digest": {"sha256": "0"}}

    from martensite.artifacts.attest import KINDS

    approval = KINDS["approval"].parse({"reason": "read", "created": "2026-01-01T00:00:00Z"})
    line = make_claim(Subject(), approval, chain.private(PIN, "evaluator"))
    key = PublicKey.parse(chain.record("evaluator").public, "it")
    assert read_envelope(line, "it").open(key)["predicate"]["reason"] == "read"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("token=a;object=b", "begins with pkcs11:"),
        ("pkcs11:token=a;object=b?pin-value=1234&module-path={m}", "holds a pin-value"),
        ("pkcs11:token=a;object=b?pin-source=file:/x&module-path={m}", "holds a pin-source"),
        ("pkcs11:token=a?module-path={m}", "names no key"),
        ("pkcs11:object=a?module-path={m}", "names no token"),
        ("pkcs11:token=a;object=b;object=c?module-path={m}", "object twice"),
        ("pkcs11:tokn=a;object=b?module-path={m}", "did you mean 'token'"),
        ("pkcs11:token=a;object=%zz?module-path={m}", "two hex digits"),
        ("pkcs11:token=a;object=%ff?module-path={m}", "labels are UTF-8"),
        ("pkcs11:token=a;object=b;type=cert?module-path={m}", "is a private key"),
        ("pkcs11:token=a;object=b", "names no module"),
        ("pkcs11:token=a;object=b?module-path=relative.so", "absolute path"),
        ("pkcs11:token=a;object=b?module-path=/nowhere.so", "there is no module"),
        ("pkcs11:token=a;object=b?module-name=../x", "no module's name"),
        ("pkcs11:token=a;object=b?module-name=nosuchmodule", "there is no module"),
        ("pkcs11:token=a;object=b?module-name=x&module-path={m}", "its module twice"),
    ],
)
def test_uris_that_are_refused(uri, message):
    with pytest.raises(ConfigError, match=message):
        TokenUri.parse(uri.format(m=__file__))


def test_a_uri_is_taken_apart_as_rfc_7512_says():
    """Percent-encoding in labels and ids: RFC 7512, sec. 2.3."""
    where = TokenUri.parse(
        f"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;serial=ab;id=%69%95%3E%ff?module-path={__file__}"
    )
    assert (where.token, where.serial, where.key, where.label) == ("The Software PKCS#11 Softtoken", "ab", b"i\x95>\xff", "")
