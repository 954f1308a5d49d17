"""Keys on elliptic curves: who signed, and the means to sign.

A key is named by the SHA-256 of its public PEM, as the OpenSSF model-signing format names it in a signature.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from martensite.artifacts.signing.tree import read_small
from martensite.core.errors import ArtifactError

LARGEST = 64 * 2**10  # bytes of a key file
SHORTEST = 12  # characters of a passphrase: PKCS#8 as OpenSSL writes it has 2,048 rounds of PBKDF2, which delay few guesses
HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
BROKEN = (  # what reading a certificate may end in
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
)  # fmt: skip


@dataclass(frozen=True)
class PublicKey:
    """A public key on P-256, P-384 or P-521.

    Attributes:
        id: SHA-256 of the PEM, in hex.
        pem: SubjectPublicKeyInfo.
    """

    id: str
    pem: str
    _key: ec.EllipticCurvePublicKey

    @classmethod
    def of(cls, key: ec.EllipticCurvePublicKey) -> "PublicKey":
        """Name it."""
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(hashlib.sha256(pem).hexdigest(), pem.decode(), key)

    @classmethod
    def parse(cls, pem: str, source: str) -> "PublicKey":
        """Read a PEM; ``source`` says in messages where it stood.

        Raises:
            ArtifactError: no public key, or one of another kind.
        """
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ArtifactError(
                f"{source} is no public key", "a PEM of a public key is needed", "martensite keys export"
            ) from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
            raise ArtifactError(
                f"{source} is a {type(key).__name__.removesuffix('PublicKey')} key of another kind",
                "keys are on P-256, P-384 or P-521",
                "martensite keys new",
            )
        return cls.of(key)

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """Read a PEM file; raises as `parse`."""
        content = read_small(path, "give the file that martensite keys export wrote", LARGEST)
        return cls.parse(content.decode("utf-8", errors="replace"), str(path))

    @property
    def curve(self) -> str:
        """Its name, as in `HASHES`."""
        return self._key.curve.name

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Is this the key's signature (DER, ECDSA) of the message?"""
        try:
            self._key.verify(signature, message, ec.ECDSA(HASHES[self._key.curve.name]))
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """What signs: a private key that was read from disk, or one in a token, which never leaves it."""

    @property
    def public(self) -> PublicKey:
        """Its public part."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA in DER, with the hash of the curve's size."""


def key_id_of(certificate: bytes) -> str:
    """Id of a certificate's key (DER); ``""`` for keys that nothing is signed with here.

    Raises:
        ValueError: no certificate.
    """
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except UnsupportedAlgorithm:
        return ""
    except BROKEN as error:
        raise ValueError(str(error)) from None
    return PublicKey.of(key).id if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in HASHES else ""


@dataclass(frozen=True)
class PrivateKey:
    """What signs; made, and read from disk, by the keyring."""

    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> "PrivateKey":
        """A fresh key on P-256."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def decrypt(cls, pem: bytes, passphrase: str, source: str) -> "PrivateKey":
        """Read an encrypted PEM.

        Raises:
            ArtifactError: a wrong passphrase, or no such key.
        """
        try:
            key = serialization.load_pem_private_key(pem, passphrase.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ArtifactError(
                f"{source} can't be opened",
                "either the passphrase is wrong, or the file is no encrypted key",
                "give the passphrase that it was made with",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
            raise ArtifactError(f"{source} is no elliptic-curve key", "keys are on P-256", "martensite keys new")
        return cls(key)

    def encrypt(self, passphrase: str) -> bytes:
        """PKCS#8 PEM under the passphrase.

        Raises:
            ArtifactError: a passphrase too short to be worth the name.
        """
        if len(passphrase) < SHORTEST:
            raise ArtifactError(
                f"the passphrase has {len(passphrase)} characters", f"at least {SHORTEST} are needed", "take a few words"
            )
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    @property
    def public(self) -> PublicKey:
        """Its public part."""
        return PublicKey.of(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """ECDSA in DER, with the hash of the curve's size."""
        return self._key.sign(message, ec.ECDSA(HASHES[self._key.curve.name]))
