"""Signing: keys, whom to trust, and signatures of whole models. Needs the extra ``evidence``."""

from martensite.artifacts.signing.certificates import Authorities
from martensite.artifacts.signing.digests import Digests
from martensite.artifacts.signing.keyless import Identity, Sigstore
from martensite.artifacts.signing.keyring import KeyRecord, Keyring, Role
from martensite.artifacts.signing.keys import PrivateKey, PublicKey, Signer
from martensite.artifacts.signing.model import (
    Signed,
    default_signature,
    read_signature,
    sign_keyless,
    sign_model,
    verify_model,
)
from martensite.artifacts.signing.trust import Trust, TrustedKey

__all__ = [
    "Authorities",
    "Digests",
    "Identity",
    "KeyRecord",
    "Keyring",
    "PrivateKey",
    "PublicKey",
    "Role",
    "Signed",
    "Signer",
    "Sigstore",
    "Trust",
    "TrustedKey",
    "default_signature",
    "read_signature",
    "sign_keyless",
    "sign_model",
    "verify_model",
]
