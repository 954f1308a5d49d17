"""The statement of a model's signature: every file with its SHA-256 (OpenSSF model-signing v1.0)."""

from typing import Any

from martensite.artifacts.signing.dsse import STATEMENT
from martensite.artifacts.signing.tree import root_digest
from martensite.core.errors import SignatureError

PREDICATE = "https://model_signing/signature/v1.0"


def model_statement(name: str, digests: dict[str, str]) -> dict[str, Any]:
    """What is signed of a model.

    Args:
        name: The folder's or file's; nothing depends on it.
        digests: Name (``"."`` for a single file) to SHA-256 in hex, in order.
    """
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}
    resources = [{"name": one, "algorithm": "sha256", "digest": digest} for one, digest in digests.items()]
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root_digest(digests)}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def model_digests(statement: dict[str, Any]) -> dict[str, str]:
    """Name to digest, of a statement that was signed; an ignore list in it hides nothing.

    Raises:
        SignatureError: it says something else, or contradicts itself.
    """
    try:
        method = dict(statement["predicate"]["serialization"])
        (subject,) = statement["subject"]
        named = [(str(one["name"]), str(one["algorithm"]), str(one["digest"])) for one in statement["predicate"]["resources"]]
        root = str(subject["digest"]["sha256"])
        digests = {name: digest for name, _, digest in named}
        sound = root_digest(digests) == root
    except (LookupError, TypeError, ValueError):
        raise _other("it lacks a subject or its files") from None
    if statement.get("predicateType") != PREDICATE:
        raise _other(f"it is a {str(statement.get('predicateType'))[:80]!r}, not {PREDICATE!r}")
    if method.get("method") != "files" or {algorithm for _, algorithm, _ in named} != {"sha256"}:
        raise _other("it is not over whole files by SHA-256")
    if method.get("allow_symlinks"):
        raise _other("it allows symbolic links")
    if len(digests) != len(named) or not sound:
        raise _other("its files and their common digest don't fit each other")
    return digests


def _other(why: str) -> SignatureError:
    return SignatureError(
        f"this signature can't be judged: {why}",
        "a model's signature lists every file with its SHA-256 (OpenSSF model-signing v1.0)",
        "sign with martensite sign, or model_signing sign",
    )
