"""Keys in PKCS#11 tokens: what is to be signed goes in, the signature comes out, and the private key stays. Extra ``pkcs11``.

OASIS PKCS #11 v2.40: C_Sign with CKM_ECDSA over a digest gives r || s, each as long as the curve's order.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from martensite.artifacts.signing.keys import HASHES, PublicKey
from martensite.artifacts.signing.token_uri import TokenUri
from martensite.core.errors import ArtifactError, ConfigError


@dataclass(frozen=True)
class TokenKey:
    """A private key in a token. It is logged in for each signature and out again: nothing else in this process can use it."""

    public: PublicKey
    _where: TokenUri
    _pin: str = field(repr=False)

    @classmethod
    def open(cls, uri: str, pin: str) -> "TokenKey":
        """Log in and find the key.

        Args:
            uri: See `TokenUri`.
            pin: The user's. A wrong one is never tried again: tokens lock themselves after a few.

        Raises:
            ConfigError: no such URI, or the extra is missing.
            ArtifactError: no such token or key, a wrong PIN, a key of another kind.
        """
        where = TokenUri.parse(uri)
        with _session(where, pin) as session:
            from pkcs11 import ObjectClass
            from pkcs11.util.ec import encode_ec_public_key

            _key(session, where, ObjectClass.PRIVATE_KEY)
            der = encode_ec_public_key(_key(session, where, ObjectClass.PUBLIC_KEY))
        return cls(_public(der, where), where, pin)

    def sign(self, message: bytes) -> bytes:
        """ECDSA in DER, with the hash of the curve's size.

        Raises:
            ArtifactError: the token refused, or signed with another key than the public one of the same name.
        """
        hasher = hashes.Hash(HASHES[self.public.curve])
        hasher.update(message)
        with _session(self._where, self._pin) as session:
            from pkcs11 import Mechanism, ObjectClass

            key = _key(session, self._where, ObjectClass.PRIVATE_KEY)
            raw = bytes(key.sign(hasher.finalize(), mechanism=Mechanism.ECDSA))
        half = len(raw) // 2
        signature = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
        if not self.public.signed(signature, message):
            raise ArtifactError(
                f"{self._where} is not the private part of the public key of that name",
                "the two belong together",
                "name the key by its id",
            )
        return signature


@contextmanager
def _session(where: TokenUri, pin: str) -> Iterator[Any]:
    """A session with the one token that is meant, and the token's refusals as errors that say what to do."""
    try:
        import pkcs11
    except ImportError:
        raise ConfigError("the package python-pkcs11 is missing", remedy="pip install 'martensite[pkcs11]'") from None
    try:
        library = pkcs11.lib(str(where.module))
    except pkcs11.PKCS11Error as error:
        raise ArtifactError(f"{where.module} can't be used: {error}", "it is a token's library", "see module-path") from None
    try:
        tokens = list(library.get_tokens(token_label=where.token or None, token_serial=where.serial.encode() or None))
        if len(tokens) != 1:
            raise ArtifactError(
                f"{len(tokens)} tokens are named {where.token or where.serial!r}",
                "a URI names one token that is plugged in",
                "see pkcs11-tool --list-slots; add serial=",
            )
        with tokens[0].open(user_pin=pin) as session:
            yield session
    except pkcs11.PKCS11Error as error:
        raise _refused(where, error) from None


def _key(session: Any, where: TokenUri, kind: Any) -> Any:
    from pkcs11 import KeyType

    return session.get_key(object_class=kind, key_type=KeyType.EC, label=where.label or None, id=where.key or None)


def _public(der: bytes, where: TokenUri) -> PublicKey:
    pem = ""
    with suppress(ValueError):  # an unknown curve
        key = serialization.load_der_public_key(der)
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return PublicKey.parse(pem, str(where))


def _refused(where: TokenUri, error: Exception) -> ArtifactError:
    name = type(error).__name__
    told = {
        "PinIncorrect": ("the PIN is wrong", "a token locks itself after a few wrong ones", "look it up before the next try"),
        "PinLenRange": ("the PIN is too short or too long", "", "give the user's PIN, not the security officer's"),
        "PinLocked": ("its PIN is locked", "there were too many wrong ones", "its security officer can set a new one"),
        "NoSuchKey": ("there is no such pair of keys on an elliptic curve", "", "make one with the token's own tool"),
        "MultipleObjectsReturned": ("several keys have this name", "a URI names one", "add id="),
    }
    value, rule, remedy = told.get(name, (f"the token refused: {name}{f' ({error})' if str(error) else ''}", "", ""))
    return ArtifactError(f"{where}: {value}", rule, remedy)
