"""Signing: keys, whom to trust, and signatures of whole models. Needs the extra ``evidence``."""

from martensite.artifacts.signing.keyring import KeyRecord, Keyring, Role
from martensite.artifacts.signing.keys import PrivateKey, PublicKey
from martensite.artifacts.signing.model import Signed, default_signature, read_signature, sign_model, verify_model
from martensite.artifacts.signing.trust import Trust, TrustedKey

__all__ = [
    "KeyRecord",
    "Keyring",
    "PrivateKey",
    "PublicKey",
    "Role",
    "Signed",
    "Trust",
    "TrustedKey",
    "default_signature",
    "read_signature",
    "sign_model",
    "verify_model",
]
