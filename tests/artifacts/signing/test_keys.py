"""Keys: openssl agrees about them, nobody else can read them, and what has ended signs nothing more."""

import hashlib
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from martensite.artifacts.signing import Keyring, PrivateKey, PublicKey, Trust
from martensite.core.errors import ArtifactError, ConfigError


def test_a_key_is_encrypted_and_only_its_owner_can_read_it(ring, passphrase):
    path = ring.private_path("release")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring.home.stat().st_mode) == 0o700
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    path.chmod(0o640)
    with pytest.raises(ArtifactError, match=r"mode 640.*chmod 600"):
        ring.private(passphrase, "release")


def test_openssl_verifies_what_a_key_signs(ring, passphrase, tmp_path):
    key = ring.private(passphrase, "release")
    (tmp_path / "pub").write_text(ring.record("release").public)
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "sig").write_bytes(key.sign(b"message"))
    command = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "message"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True).stdout == "Verified OK\n"
    assert key.public.signed(key.sign(b"message"), b"message")
    assert not key.public.signed(key.sign(b"message"), b"massage")
    assert key.public.id == hashlib.sha256((tmp_path / "pub").read_bytes()).hexdigest()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_public_keys_of_three_curves_verify_with_the_hash_of_their_size(curve):
    private = ec.generate_private_key(curve)
    digest = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[curve.key_size]()
    signature = private.sign(b"message", ec.ECDSA(digest))
    assert PublicKey.of(private.public_key()).signed(signature, b"message")


OTHERS = {"k1": ec.generate_private_key(ec.SECP256K1()), "rsa": rsa.generate_private_key(65537, 2048)}


@pytest.mark.parametrize("key", OTHERS.values(), ids=OTHERS)
def test_other_keys_are_refused(key):
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ArtifactError, match="another kind"):
        PublicKey.parse(pem.decode(), "it")
    with pytest.raises(ArtifactError, match="no public key"):
        PublicKey.parse("nonsense", "it")


def test_a_wrong_passphrase_and_a_short_one_are_refused(ring):
    with pytest.raises(ArtifactError, match="can't be opened"):
        ring.private("another passphrase", "release")
    with pytest.raises(ArtifactError, match="5 characters"):
        ring.new("third", "short")
    assert ring.names() == ["evaluator", "release"]
    assert not list(ring.home.glob("third*"))


def test_names_are_names(ring, passphrase):
    for name in ("../up", "a/b", "", ".hidden", "x" * 65, "a b", "release\n"):
        with pytest.raises(ConfigError, match="no key name"):
            ring.new(name, passphrase)
    with pytest.raises(ConfigError, match="already"):
        ring.new("release", passphrase)
    with pytest.raises(ConfigError, match="did you mean 'release'"):
        ring.record("relaese")


def test_the_first_key_is_the_default_until_another_is(ring):
    assert ring.record().name == "release"
    ring.use("evaluator")
    assert ring.record().name == "evaluator"
    with pytest.raises(ConfigError, match="no default key"):
        Keyring(ring.home / "nowhere").record()


def test_a_revoked_key_is_gone_for_good(ring, passphrase):
    ring.revoke("release", "stolen")
    assert not (ring.home / "release.pem").exists()
    assert ring.record("release").reason == "stolen"
    for act in (
        lambda: ring.private(passphrase, "release"),
        lambda: ring.rotate("release", passphrase),
        lambda: ring.use("release"),
    ):
        with pytest.raises(ConfigError, match="is revoked"):
            act()


def test_rotation_keeps_the_old_key_for_verifying_only(ring, passphrase):
    before = ring.record("release")
    after, retired = ring.rotate("release", passphrase)
    assert after.id != before.id == retired.id
    assert ring.private(passphrase, "release").public.id == after.id
    assert ring.names() == sorted(["evaluator", "release", retired.name])
    with pytest.raises(ConfigError, match="is retired"):
        ring.private(passphrase, retired.name)


def test_a_record_that_was_altered_is_refused(ring, passphrase):
    other = PrivateKey.new().public
    path = ring.home / "release.json"
    path.write_text(path.read_text().replace(ring.record("release").id, other.id))
    with pytest.raises(ArtifactError, match="altered"):
        ring.record("release")
    (ring.home / "evaluator.pem").write_bytes((ring.home / "release.pem").read_bytes())
    with pytest.raises(ArtifactError, match="another key"):
        ring.private(passphrase, "evaluator")


def test_trust_follows_the_keyring_and_comes_back_from_its_file(ring, passphrase, tmp_path):
    trust = Trust().with_record(ring.record("release")).with_record(ring.record("evaluator"))
    trust.save(tmp_path / "trust.yaml")
    assert Trust.from_yaml(tmp_path / "trust.yaml") == trust
    key = trust.find(ring.record("release").id)
    assert key.refusal("release") == ""
    assert "has the role release, not evaluator" in key.refusal("evaluator")
    after, retired = ring.rotate("release", passphrase)
    trust = trust.with_record(retired).with_record(after)
    assert trust.find(after.id).refusal("release") == ""
    old = trust.find(retired.id)
    assert old.refusal("release", retired.changed) == ""
    assert "good until" in old.refusal("release", after.created.replace(year=2999))
    assert "good until" in old.refusal("release")
    revoked = trust.with_record(ring.revoke("release", "lost"))
    assert "was revoked" in revoked.find(after.id).refusal("release")
    assert revoked.with_record(after).find(after.id).revoked  # an old record does not bring it back


def test_a_trust_file_lists_a_key_once(ring):
    key = Trust().with_record(ring.record("release")).keys[0]
    with pytest.raises(ConfigError, match="two keys have the public key"):
        Trust(keys=(key, key.model_copy(update={"name": "other"})))
    with pytest.raises(ConfigError, match="two keys have the name"):
        Trust(keys=(key, Trust().with_record(ring.record("evaluator")).keys[0].model_copy(update={"name": key.name})))
