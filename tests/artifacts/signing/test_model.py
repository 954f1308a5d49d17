"""Signatures of models: the real model_signing command and we agree, and whatever changes afterwards is found and named."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from martensite.artifacts.signing import PublicKey, Trust, sign_model, verify_model
from martensite.artifacts.signing.dsse import pae, read_envelope, seal
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, SignatureError


@pytest.fixture
def key(ring):
    return PublicKey.parse(ring.record("release").public, "release")


@pytest.fixture
def signed(model, ring, passphrase):
    sign_model(model, ring, passphrase, key="release")
    return model


def model_signing(*words):
    command = [sys.executable, "-m", "model_signing", *[str(word) for word in words]]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def test_the_model_signing_command_verifies_what_we_sign(signed, ring, tmp_path):
    public = tmp_path / "pub"
    public.write_text(ring.record("release").public)
    words = ("verify", "key", signed, "--signature", f"{signed}.sig", "--public_key", public)
    assert "Verification succeeded" in model_signing(*words, "--no-ignore-git-paths").stdout
    (signed / "weights").write_bytes(b"others")
    assert model_signing(*words, "--no-ignore-git-paths").returncode != 0


def test_we_verify_what_the_model_signing_command_signs(model, tmp_path):
    private, public, signature = tmp_path / "p.pem", tmp_path / "p.pub", tmp_path / "m.sig"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    done = model_signing("sign", "key", model, "--signature", signature, "--private_key", private)
    assert done.returncode == 0, done.stderr
    key = PublicKey.read(public)
    # It leaves git's files unsigned and has its verifier overlook them; ours does not.
    with pytest.raises(SignatureError, match="config is not signed"):
        verify_model(model, key, signature=signature)
    (model / ".git" / "config").unlink()
    (model / ".git").rmdir()
    result = verify_model(model, key, signature=signature)
    assert len(result.files) == 6
    assert json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))["subject"][0]["digest"] == {
        "sha256": result.digest
    }


def test_a_single_file_both_ways(tmp_path, ring, passphrase, key):
    file, public = tmp_path / "model.pkl", tmp_path / "pub"
    file.write_bytes(b"anything")
    public.write_text(key.pem)
    sign_model(file, ring, passphrase, key="release")
    assert list(verify_model(file, key).files) == ["."]
    words = ("verify", "key", file, "--signature", f"{file}.sig", "--public_key", public)
    assert "Verification succeeded" in model_signing(*words).stdout
    file.write_bytes(b"anythinG")
    with pytest.raises(SignatureError, match=r"model\.pkl was altered"):
        verify_model(file, key)


def test_every_byte_counts(signed, key):
    files = verify_model(signed, key).files
    assert len(files) == 7
    for name in set(files) - {"empty"}:
        path = signed / name
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(SignatureError, match="was altered"):
                verify_model(signed, key)
        path.write_bytes(content)
    verify_model(signed, key)


def _add(folder):
    (folder / "a" / "new").write_text("x")


def _remove(folder):
    (folder / "a" / "b").unlink()


def _rename(folder):
    (folder / "a.b").rename(folder / "a.c")


def _link(folder):
    (folder / "a.b").unlink()
    (folder / "a.b").symlink_to(folder.parent / "elsewhere")


def _link_to_the_same_content(folder):
    (folder / "a.b").rename(folder.parent / "elsewhere")
    (folder / "a.b").symlink_to(folder.parent / "elsewhere")


def _linked_folder(folder):
    (folder / "a").rename(folder.parent / "elsewhere")
    (folder / "a").symlink_to(folder.parent / "elsewhere")


def _empty_folder(folder):
    (folder / "a" / "hollow" / "deeper").mkdir(parents=True)


def _pipe(folder):
    os.mkfifo(folder / "pipe")


def _extra_git_file(folder):
    (folder / ".gitignore").write_text("*")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add, "new is not signed"),
        (_extra_git_file, "gitignore is not signed"),
        (_remove, "b is missing"),
        (_rename, "a.c is not signed"),
        (_link, "symbolic link"),
        (_link_to_the_same_content, "symbolic link"),
        (_linked_folder, "symbolic link"),
        (_empty_folder, "empty folder"),
        (_pipe, "pipe"),
    ],
)
def test_what_a_signature_does_not_cover_is_refused(change, message, signed, key):
    change(signed)
    with pytest.raises((SignatureError, ArtifactError), match=message):
        verify_model(signed, key)


@pytest.mark.parametrize("change", [_link, _linked_folder, _empty_folder, _pipe])
def test_what_can_not_be_verified_is_not_signed(change, model, ring, passphrase):
    change(model)
    with pytest.raises(ArtifactError):
        sign_model(model, ring, passphrase)
    assert not Path(f"{model}.sig").exists()


def test_the_root_may_not_be_a_link(signed, key, tmp_path):
    (tmp_path / "link").symlink_to(signed)
    with pytest.raises(ArtifactError, match="symbolic link"):
        verify_model(tmp_path / "link", key, signature=f"{signed}.sig")


def test_a_signature_inside_the_folder_is_the_only_file_not_signed(model, ring, passphrase, key):
    inside = model / "model.sig"
    sign_model(model, ring, passphrase, key="release", signature=inside)
    assert "model.sig" not in verify_model(model, key, signature=inside).files
    sign_model(model, ring, passphrase, key="release", signature=inside)  # again, over the old one
    (model / "a" / "model.sig").write_bytes(inside.read_bytes())
    with pytest.raises(SignatureError, match="is not signed"):
        verify_model(model, key, signature=inside)


def test_an_ignore_list_in_the_signature_hides_nothing(signed, ring, passphrase, key):
    path = Path(f"{signed}.sig")
    statement = read_envelope(path.read_bytes(), "it").open(key)
    statement["predicate"]["serialization"]["ignore_paths"] = ["a/new"]
    path.write_text(seal(statement, ring.private(passphrase, "release")))
    verify_model(signed, key)
    _add(signed)
    with pytest.raises(SignatureError, match="new is not signed"):
        verify_model(signed, key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"), "Digests"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "whole files"),
        (lambda s: s["predicate"]["serialization"].update(allow_symlinks=True), "symbolic links"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"), "whole files"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "fit each other"),
        (lambda s: s["subject"].append(s["subject"][0]), "lacks a subject"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "fit each other"),
        (lambda s: s.pop("predicate"), "lacks a subject"),
        (lambda s: s.update(_type="other"), "in-toto statement"),
    ],
)
def test_statements_that_say_something_else_are_refused_though_well_signed(change, message, signed, ring, passphrase, key):
    path = Path(f"{signed}.sig")
    statement = read_envelope(path.read_bytes(), "it").open(key)
    change(statement)
    path.write_text(seal(statement, ring.private(passphrase, "release")))
    with pytest.raises(SignatureError, match=message):
        verify_model(signed, key)


def test_trust_asks_for_a_known_key_with_the_role(signed, ring, passphrase):
    trust = Trust().with_record(ring.record("release")).with_record(ring.record("evaluator"))
    assert verify_model(signed, trust).signer == "release (release's owner)"
    with pytest.raises(SignatureError, match="unknown"):
        verify_model(signed, Trust().with_record(ring.record("evaluator")))
    with pytest.raises(SignatureError, match="was revoked"):
        verify_model(signed, trust.with_record(ring.revoke("release", "lost")))
    sign_model(signed, ring, passphrase, key="evaluator")
    with pytest.raises(SignatureError, match="has the role evaluator, not release"):
        verify_model(signed, trust)


def test_another_key_is_not_the_key(signed, ring):
    with pytest.raises(SignatureError, match="not the signature"):
        verify_model(signed, PublicKey.parse(ring.record("evaluator").public, "it"))


def test_a_wrong_passphrase_writes_nothing(model, ring):
    with pytest.raises(ArtifactError, match="can't be opened"):
        sign_model(model, ring, "a wrong passphrase")
    ring.revoke("release", "lost")
    with pytest.raises(ConfigError, match="is revoked"):
        sign_model(model, ring, "any")
    assert not Path(f"{model}.sig").exists()


def test_pae_is_the_published_one():
    """The example of the DSSE protocol, v1.0.2."""
    assert pae(b"hello world", "http://example.com/HelloWorld") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_an_altered_signature_file_is_refused_and_nothing_else_happens(data, signed, key):
    path = Path(f"{signed}.sig")
    backup = path.with_suffix(".bak")
    if not backup.exists():
        backup.write_bytes(path.read_bytes())
    content = bytearray(backup.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        result = verify_model(signed, key)
    except MartensiteError:
        return
    # What may change: blanks, and what nothing depends on; never the payload, the signature or the key.
    original, changed = (read_envelope(bytes(one), "it") for one in (backup.read_bytes(), content))
    assert changed.payload == original.payload
    assert changed.hint == original.hint
    assert result.key == key.id


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_a_signature_or_refused(content):
    with pytest.raises(SignatureError):
        read_envelope(content, "it")


def test_deep_or_repeated_json_is_refused():
    for content in ("[" * 100_000, '{"a": 1, "a": 2}', '{"a": NaN}', "[]"):
        with pytest.raises(SignatureError):
            read_envelope(content, "it")
