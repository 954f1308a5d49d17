"""Certificates of an authority made here: the model_signing command and we agree, and our own rules hold on top of its."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from martensite.artifacts.signing import Authorities, PublicKey, Trust, sign_model, verify_model
from martensite.artifacts.signing.dsse import read_envelope, seal
from martensite.core.errors import ArtifactError, SignatureError

DAY = timedelta(days=1)
NOTHING = (False,) * 8
SIGNING = x509.KeyUsage(True, *NOTHING)
AUTHORITY = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certify(public, subject, issuer, issuer_key, *extensions, start=-DAY, end=365 * DAY):
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + start).not_valid_after(now + end)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(subject, issuer=None, issuer_key=None, *more):
    key = ec.generate_private_key(ec.SECP256R1())
    extensions = (x509.BasicConstraints(True, None), AUTHORITY, *more)
    return key, certify(key.public_key(), subject, issuer or subject, issuer_key or key, *extensions, start=-30 * DAY)


def write(path, *certificates):
    path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
    return path


@pytest.fixture
def office(tmp_path, ring):
    """A root, an authority below it, and certificates for the key ``release``."""
    root_key, root = authority("root")
    middle_key, middle = authority("middle", "root", root_key)
    public = serialization.load_pem_public_key(ring.record("release").public.encode())
    mail = x509.SubjectAlternativeName([x509.RFC822Name("ada@example.org"), x509.UniformResourceIdentifier("https://ci/job")])

    def chain(*extensions, of=public, **times):
        leaf = certify(of, "Ada", "middle", middle_key, *(extensions or (SIGNING, mail)), **times)
        return write(tmp_path / "chain.pem", leaf, middle)

    return SimpleNamespace(root=write(tmp_path / "root.pem", root), middle=write(tmp_path / "middle.pem", middle), chain=chain)


def model_signing(*words):
    command = [sys.executable, "-m", "model_signing", *[str(word) for word in words]]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def test_the_model_signing_command_verifies_what_we_sign(office, model, ring, passphrase):
    sign_model(model, ring, passphrase, key="release", certificates=office.chain())
    words = ("verify", "certificate", model, "--signature", f"{model}.sig", "--certificate_chain", office.root)
    done = model_signing(*words, "--no-ignore-git-paths")
    assert "Verification succeeded" in done.stdout, done.stderr
    (model / "weights").write_bytes(b"others")
    assert model_signing(*words, "--no-ignore-git-paths").returncode != 0


def test_we_verify_what_the_model_signing_command_signs(office, model, tmp_path):
    key = ec.generate_private_key(ec.SECP384R1())
    none = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
    (tmp_path / "key.pem").write_bytes(pem)
    leaf = office.chain(SIGNING, of=key.public_key())
    signature = tmp_path / "m.sig"
    words = ("sign", "certificate", model, "--signature", signature, "--private_key", tmp_path / "key.pem")
    done = model_signing(*words, "--signing_certificate", leaf, "--certificate_chain", office.middle)
    assert done.returncode == 0, done.stderr
    believed = Authorities.read([office.root])
    with pytest.raises(SignatureError, match="config is not signed"):  # git's files, which it leaves out
        verify_model(model, believed, signature=signature)
    (model / ".git" / "config").unlink()
    (model / ".git").rmdir()
    signed = verify_model(model, believed, signature=signature)
    assert signed.signer == "Ada"
    assert len(signed.files) == 6
    (model / "new").mkdir()
    with pytest.raises(ArtifactError, match="empty folder"):
        verify_model(model, believed, signature=signature)


def test_who_signed_is_asked_for(office, model, ring, passphrase):
    sign_model(model, ring, passphrase, key="release", certificates=office.chain())
    for who in ("ada@example.org", "https://ci/job"):
        assert verify_model(model, Authorities.read([office.root], who)).signer == who
    for who in ("Ada", "eve@example.org", "ada@example.or", ""):
        with pytest.raises(SignatureError, match="it must be"):
            verify_model(model, Authorities.read([office.root], who))


def test_a_trusted_key_or_trust_file_does_not_need_the_certificate(office, model, ring, passphrase):
    sign_model(model, ring, passphrase, key="release", certificates=office.chain())
    record = ring.record("release")
    assert verify_model(model, PublicKey.parse(record.public, "it")).key == record.id
    assert verify_model(model, Trust().with_record(record)).signer == "release (release's owner)"
    with pytest.raises(SignatureError, match="is unknown"):
        verify_model(model, Trust().with_record(ring.record("evaluator")))


def test_other_authorities_are_not_believed(office, model, ring, passphrase, tmp_path):
    sign_model(model, ring, passphrase, key="release", certificates=office.chain())
    _, stranger = authority("root")  # of the same name
    for given in (write(tmp_path / "other.pem", stranger), office.middle):  # what isn't self-signed is no root
        with pytest.raises(SignatureError, match="isn't believed"):
            verify_model(model, Authorities.read([given]))


@pytest.mark.parametrize(("start", "end"), [(-9 * DAY, -DAY), (DAY, 9 * DAY)])
def test_a_chain_holds_today_or_not_at_all(start, end, office, model, ring, passphrase):
    """model_signing takes both: it judges the chain at the moment when the certificate begins."""
    sign_model(model, ring, passphrase, key="release", certificates=office.chain(SIGNING, start=start, end=end))
    words = ("verify", "certificate", model, "--signature", f"{model}.sig", "--certificate_chain", office.root)
    assert "Verification succeeded" in model_signing(*words, "--no-ignore-git-paths").stdout
    with pytest.raises(SignatureError, match="isn't believed"):
        verify_model(model, Authorities.read([office.root]))


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ((AUTHORITY,), "not for digital signatures"),
        ((SIGNING, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "other purposes"),
        ((x509.SubjectAlternativeName([x509.DNSName("example.org")]),), "does not say that it is for signing"),
    ],
)
def test_a_certificate_for_something_else(extensions, message, office, model, ring, passphrase):
    chain = office.chain(*extensions)
    with pytest.raises(ArtifactError, match=message):
        sign_model(model, ring, passphrase, key="release", certificates=chain)
    # One who signs without asking us.
    sign_model(model, ring, passphrase, key="release")
    path = model.with_name("model.sig")
    key = ring.private(passphrase, "release")
    statement = read_envelope(path.read_bytes(), "it").open(key.public)
    certificates = x509.load_pem_x509_certificates(chain.read_bytes())
    path.write_text(seal(statement, key, tuple(one.public_bytes(serialization.Encoding.DER) for one in certificates)))
    with pytest.raises(SignatureError, match=message):
        verify_model(model, Authorities.read([office.root]))


def test_code_signing_is_a_purpose(office, model, ring, passphrase):
    chain = office.chain(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))
    sign_model(model, ring, passphrase, key="release", certificates=chain)
    assert verify_model(model, Authorities.read([office.root], "Ada")).signer == "Ada"  # a common name, as it has no other


def test_another_keys_certificate_and_files_that_are_none(office, model, ring, passphrase, tmp_path):
    with pytest.raises(ArtifactError, match="not of this key"):
        sign_model(model, ring, passphrase, key="evaluator", certificates=office.chain())
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ArtifactError, match="holds no certificate"):
        sign_model(model, ring, passphrase, key="release", certificates=tmp_path / "empty.pem")
    other = office.chain(SIGNING, of=rsa.generate_private_key(65537, 2048).public_key())
    with pytest.raises(ArtifactError, match="not of this key"):
        sign_model(model, ring, passphrase, key="release", certificates=other)
    assert not model.with_name("model.sig").exists()


def test_a_signature_by_a_mere_key_has_no_authority(office, model, ring, passphrase):
    sign_model(model, ring, passphrase, key="release")
    with pytest.raises(SignatureError, match="names a key and no certificate"):
        verify_model(model, Authorities.read([office.root]))


def test_an_rsa_certificate_does_not_sign_here(office, model, ring, passphrase):
    key = rsa.generate_private_key(65537, 2048)
    chain = x509.load_pem_x509_certificates(office.chain(SIGNING, of=key.public_key()).read_bytes())
    sign_model(model, ring, passphrase, key="release")
    path = model.with_name("model.sig")
    signer = ring.private(passphrase, "release")
    statement = read_envelope(path.read_bytes(), "it").open(signer.public)
    path.write_text(seal(statement, signer, tuple(one.public_bytes(serialization.Encoding.DER) for one in chain)))
    with pytest.raises(SignatureError, match="another kind"):
        verify_model(model, Authorities.read([office.root]))


def test_a_stolen_certificate_under_ones_own_signature(office, model, ring, passphrase):
    """Certificates are public: Eve puts Ada's into a signature that Eve made."""
    sign_model(model, ring, passphrase, key="release", certificates=office.chain())
    path = model.with_name("model.sig")
    genuine = read_envelope(path.read_bytes(), "it")
    statement = genuine.open(ring.private(passphrase, "release").public)
    path.write_text(seal(statement, ring.private(passphrase, "evaluator"), genuine.certificates))
    with pytest.raises(SignatureError, match="not the signature of the key"):
        verify_model(model, Authorities.read([office.root]))


@pytest.mark.parametrize(
    ("purpose", "may"),
    [(ExtendedKeyUsageOID.SERVER_AUTH, False), (ExtendedKeyUsageOID.CODE_SIGNING, True), (None, True)],
    ids=["web servers", "code", "any"],
)
def test_an_authority_for_web_servers_certifies_no_signer(purpose, may, model, ring, passphrase, tmp_path):
    """Organisations have one below the very root that they trust, and many can get certificates there."""
    root_key, root = authority("root")
    limits = () if purpose is None else (x509.ExtendedKeyUsage([purpose]),)
    middle_key, middle = authority("middle", "root", root_key, *limits)
    public = serialization.load_pem_public_key(ring.record("release").public.encode())
    leaf = certify(public, "Ada", "middle", middle_key, SIGNING, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))
    chain = write(tmp_path / "chain.pem", leaf, middle)
    sign_model(model, ring, passphrase, key="release", certificates=chain)
    authorities = Authorities.read([write(tmp_path / "root.pem", root)])
    if may:
        assert verify_model(model, authorities).signer == "Ada"
    else:
        with pytest.raises(SignatureError, match="the authority middle is for other purposes"):
            verify_model(model, authorities)
