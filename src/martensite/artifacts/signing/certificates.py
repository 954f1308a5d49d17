"""Signers by certificate: a chain that goes into the signature, and the authorities that a verifier believes.

X.509 path validation (RFC 5280, sec. 6) is OpenSSL's. Stricter than the model-signing library: the chain has to hold today, not
on the day that it began, because nothing in a signature says when it was made.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from martensite.artifacts.signing.dsse import LONGEST, Envelope
from martensite.artifacts.signing.keys import BROKEN, PublicKey, key_id_of
from martensite.artifacts.signing.tree import read_small
from martensite.core.errors import ArtifactError, SignatureError

LARGEST = 2**20  # bytes of a file of certificates
SIGNING = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, in order.

    Raises:
        ArtifactError: it holds none, or can't be read.
    """
    content = read_small(path, "give a PEM file of certificates", LARGEST)
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except BROKEN:
        raise ArtifactError(f"{path} holds no certificate", "a PEM file is needed", "BEGIN CERTIFICATE begins one") from None


def signing_chain(path: Path, key: PublicKey) -> tuple[bytes, ...]:
    """The chain of a signer (DER): his own certificate, then those of the authorities between him and the root.

    Raises:
        ArtifactError: the first certificate is of another key, or may not sign.
    """
    certificates = read_certificates(path)
    chain = tuple(one.public_bytes(serialization.Encoding.DER) for one in certificates)
    try:
        owner, refusal = key_id_of(chain[0]), _unfit(certificates[0])
    except BROKEN as error:
        raise ArtifactError(f"the first certificate in {path} can't be judged: {error}", remedy="ask for another") from None
    if owner != key.id:
        raise ArtifactError(
            f"the first certificate in {path} is not of this key", "the signer's own comes first", "put it there, or give its key"
        )
    if len(chain) > LONGEST:
        raise ArtifactError(f"{path} holds {len(chain)} certificates", f"a chain has at most {LONGEST}", "leave others out")
    if refusal:
        raise ArtifactError(f"the first certificate in {path} {refusal}", "it must be made for signing", "ask for another")
    return chain


@dataclass(frozen=True)
class Authorities:
    """Whom a verifier believes.

    Attributes:
        certificates: Of authorities; what doesn't lead to a self-signed one among them counts for nothing.
        identity: Who must have signed: an e-mail address, URI or DNS name of the certificate, or the common name of one that has
            none of them. None: anyone to whom they gave a certificate for signing.
    """

    certificates: tuple[x509.Certificate, ...]
    identity: str | None = None

    @classmethod
    def read(cls, paths: list[Path], identity: str | None = None) -> "Authorities":
        """From PEM files; raises as `read_certificates`."""
        return cls(tuple(one for path in paths for one in read_certificates(path)), identity)

    def signer(self, envelope: Envelope) -> tuple[PublicKey, str]:
        """Key and name of who is said to have signed, if these authorities say so today.

        Raises:
            SignatureError: they don't.
        """
        if not envelope.certificates:
            raise SignatureError("this signature names a key and no certificate", remedy="verify it with --key or --trust")
        from OpenSSL import crypto

        try:
            chain = [x509.load_der_x509_certificate(one) for one in envelope.certificates]
            self._validate(chain)
            refusal, names = _unfit(chain[0]), _names(chain[0])
            key = PublicKey.parse(_pem(chain[0]), "the certificate's key")
        except (*BROKEN, ArtifactError, crypto.Error) as error:
            raise SignatureError(f"the certificate can't be judged: {error}", remedy="ask the signer for another") from None
        if refusal:
            raise SignatureError(f"the certificate of {names[0]} {refusal}", "it must be made for signing", "ask for another")
        if self.identity is not None and self.identity not in names:
            raise SignatureError(
                f"this was signed by {' and '.join(names)}",
                f"it must be {self.identity}",
                "ask who signed, or give another --identity",
            )
        return key, names[0] if self.identity is None else self.identity

    def _validate(self, chain: list[x509.Certificate]) -> None:
        from OpenSSL import crypto

        store = crypto.X509Store()
        for one in self.certificates:
            store.add_cert(crypto.X509.from_cryptography(one))
        first, *others = (crypto.X509.from_cryptography(one) for one in chain)
        try:
            verified = crypto.X509StoreContext(store, first, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            raise SignatureError(
                f"the certificate of {_names(chain[0])[0]} isn't believed: {error}",
                "a chain leads to an authority in --certificate-chain, and holds today",
                "add the authority, or have the model signed anew",
            ) from None
        # OpenSSL looks at these only for the purposes that it has a name for: an authority for web servers certifies no signer.
        for one in (other.to_cryptography() for other in verified[1:]):
            purposes = _purposes(one)
            if purposes is not None and not purposes & SIGNING:
                raise SignatureError(
                    f"the authority {_names(one)[0]} is for other purposes than signing code",
                    "each in the chain may certify signers",
                    "have the model signed with another certificate",
                )


def _unfit(certificate: x509.Certificate) -> str:
    """Why nothing may be signed with it, or ``""``."""
    usage, purposes = None, _purposes(certificate)
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
    if usage is not None and not usage.digital_signature:
        return "is not for digital signatures"
    if purposes is not None and not purposes & SIGNING:
        return "is for other purposes than signing code"
    return "does not say that it is for signing" if usage is None and purposes is None else ""


def _purposes(certificate: x509.Certificate) -> set[x509.ObjectIdentifier] | None:
    """What it is limited to; None: nothing."""
    return next((set(one.value) for one in certificate.extensions if isinstance(one.value, x509.ExtendedKeyUsage)), None)


def _names(certificate: x509.Certificate) -> list[str]:
    """Whose it is; never empty."""
    names = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            for kind in (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName):
                names += extension.value.get_values_for_type(kind)
    common = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names or common or ["nobody"]


def _pem(certificate: x509.Certificate) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(encoding, form).decode()
