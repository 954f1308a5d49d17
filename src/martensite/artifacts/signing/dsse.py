"""DSSE envelopes of in-toto statements in Sigstore bundles: the one form in which anything is signed here.

DSSE protocol v1.0.2 (secure-systems-lab/dsse), PAE; Sigstore bundle v0.3 (sigstore/protobuf-specs), dsseEnvelope with a public
key hint or certificates; in-toto Statement v1 (in-toto/attestation). A bundle is read strictly: one signature, no key twice in an
object.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from martensite.artifacts.signing.keys import PublicKey, Signer, key_id_of
from martensite.core.config import canonical_json
from martensite.core.errors import SignatureError

PAYLOAD = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "https://in-toto.io/Statement/v1"
LONGEST = 10  # certificates of a chain


@dataclass(frozen=True)
class Envelope:
    """A bundle as it was read; nothing in it is believed yet.

    Attributes:
        hint: The id of the key that is said to have signed; ``""``: a certificate's key of a kind that isn't known here.
        payload: What was signed.
        signature: DER.
        certificates: DER, the signer's first; none: the key stands for itself.
    """

    hint: str
    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...] = ()

    def open(self, key: PublicKey) -> dict[str, Any]:
        """The in-toto statement, if this key signed it.

        Raises:
            SignatureError: it didn't, or what it signed is no statement.
        """
        if self.hint != key.id or not key.signed(self.signature, pae(self.payload)):
            raise SignatureError(
                f"this is not the signature of the key {key.id[:12]}",
                "a signature holds for the very bytes that were signed",
                "what was signed, or the signature, was altered: fetch both again",
            )
        statement = read_object(self.payload, "the signed payload")
        if statement.get("_type") != STATEMENT:
            raise SignatureError(f"the payload is a {statement.get('_type')!r}", f"signed is an in-toto statement, {STATEMENT}")
        return statement


def pae(payload: bytes, kind: str = PAYLOAD) -> bytes:
    """What is signed: ``DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload``."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def seal(statement: Mapping[str, Any], key: Signer, certificates: tuple[bytes, ...] = ()) -> str:
    """The bundle of a statement that this key signs, as one line of JSON; with certificates (DER), the key's own first."""
    payload = canonical_json(statement).encode()
    signature = {"sig": base64.b64encode(key.sign(pae(payload))).decode(), "keyid": ""}
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD, "signatures": [signature]}
    chain = {"certificates": [{"rawBytes": base64.b64encode(one).decode()} for one in certificates]}
    material = {"x509CertificateChain": chain} if certificates else {"publicKey": {"hint": key.public.id}}
    return canonical_json(
        {"mediaType": BUNDLE, "verificationMaterial": {**material, "tlogEntries": []}, "dsseEnvelope": envelope}
    )


def read_envelope(content: bytes | str, source: str) -> Envelope:
    """Read a bundle; ``source`` says in messages where it stood.

    Raises:
        SignatureError: not such a bundle.
    """
    document = read_object(content, source)
    media = document.get("mediaType")
    if media != BUNDLE:
        raise _unreadable(source, f"its media type is {str(media)[:80]!r}, not {BUNDLE!r}")
    try:
        envelope, (hint, certificates) = document["dsseEnvelope"], _material(document["verificationMaterial"])
        kind, (signature,) = envelope["payloadType"], envelope["signatures"]
        payload, der = (_bytes(text) for text in (envelope["payload"], signature["sig"]))
    except (LookupError, TypeError, ValueError):
        raise _unreadable(source, "it lacks one key's hint or certificate, a payload or its one signature") from None
    if kind != PAYLOAD or not isinstance(hint, str):
        raise _unreadable(source, f"its payload is {str(kind)[:80]!r}, not {PAYLOAD!r}")
    return Envelope(hint, payload, der, certificates)


def _material(material: Mapping[str, Any]) -> tuple[Any, tuple[bytes, ...]]:
    """Id of the key, and certificates: exactly one way to name who signed, so that no two readers choose differently."""
    (way,) = material.keys() & {"publicKey", "x509CertificateChain", "certificate"}
    if way == "publicKey":
        return material[way]["hint"], ()
    chain = [material[way]] if way == "certificate" else material[way]["certificates"][: LONGEST + 1]
    certificates = tuple(_bytes(one["rawBytes"]) for one in chain)
    if not 1 <= len(certificates) <= LONGEST:
        raise ValueError(len(certificates))
    return key_id_of(certificates[0]), certificates


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)  # its error is a ValueError


def read_object(content: bytes | str, source: str) -> dict[str, Any]:
    """A JSON object in which no key stands twice, which two readers might read in two ways.

    Raises:
        SignatureError: it is not.
    """
    try:
        document = json.loads(content, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _unreadable(source, "it is not JSON, or holds a key twice") from None
    if not isinstance(document, dict):
        raise _unreadable(source, "it is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _unreadable(source: str, why: str) -> SignatureError:
    return SignatureError(
        f"{source} is no signature that can be read: {why}", "it must be a Sigstore bundle with a DSSE statement"
    )
