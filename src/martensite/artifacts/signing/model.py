"""Signatures of whole models in the OpenSSF model-signing format, v1.0: a statement over the SHA-256 of every file.

Signing goes through the `model-signing` library, so that its ``model_signing`` command verifies what is signed here. Verifying
takes what that command signs, and is stricter: no file is left out because the signature says so, none may be there that is not
signed, and neither links nor empty folders pass.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from martensite.artifacts.signing.dsse import read_envelope
from martensite.artifacts.signing.keyring import Keyring, Role
from martensite.artifacts.signing.keys import PublicKey
from martensite.artifacts.signing.tree import digest_files, list_files, read_small, root_digest
from martensite.artifacts.signing.trust import Trust
from martensite.core.errors import SignatureError
from martensite.core.files import write_bytes

PREDICATE = "https://model_signing/signature/v1.0"
LARGEST = 64 * 2**20  # bytes of a signature: a few hundred thousand files


@dataclass(frozen=True)
class Signed:
    """What a signature says, once it is verified.

    Attributes:
        key: Id of the key that signed.
        signer: Its name, and its owner's where they are known.
        digest: Of the whole model, in hex: SHA-256 over its files' digests.
        files: Name (``"."`` for a single file) to SHA-256, in hex.
    """

    key: str
    signer: str
    digest: str
    files: dict[str, str]


def default_signature(path: str | Path) -> Path:
    """Beside the model: ``models/first.sig`` for ``models/first``."""
    path = Path(path)
    return path.with_name(path.resolve().name + ".sig") if path.name in ("", "..") else path.with_name(path.name + ".sig")


def sign_model(
    path: str | Path, ring: Keyring, passphrase: str, *, key: str | None = None, signature: str | Path | None = None
) -> Signed:
    """Sign a folder or a file.

    Args:
        path: The model.
        ring: Where the key is.
        passphrase: Of the key.
        key: Its name; None: the default key.
        signature: Where to write; None: beside the model.

    Raises:
        ArtifactError: the model holds what no signature can speak of, or a wrong passphrase.
        ConfigError: no such key, or one that is retired or revoked.
        StorageError: the disk refused it.
    """
    from model_signing import hashing, signing

    path, signature = Path(path), Path(signature) if signature is not None else default_signature(path)
    ring.private(passphrase, key)  # a wrong passphrase shows before gigabytes are hashed
    files = list_files(path, besides=signature)
    rules: Any = hashing.Config()  # type: ignore[no-untyped-call]
    rules.use_file_serialization(hashing_algorithm="sha256")
    inside = signature.resolve().is_relative_to(path.resolve()) and path.is_dir()
    left_out = [signature.resolve().relative_to(path.resolve())] if inside else []
    rules.set_ignored_paths(paths=left_out, ignore_git_paths=False)
    signer: Any = signing.Config()  # type: ignore[no-untyped-call]
    signer.set_hashing_config(rules)
    # The annotation asks for str; what the passphrase is handed to takes bytes.
    signer.use_elliptic_key_signer(private_key=ring.private_path(key), password=passphrase.encode())
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.sig"
        signer.sign(path, draft)
        content = draft.read_bytes()
    record = ring.record(key)
    digests = _resources(read_envelope(content, "the new signature").open(PublicKey.parse(record.public, record.name)))
    if list(digests) != list(files):
        raise SignatureError(f"{path} changed while it was signed", "what is signed must hold still", "sign it again")
    write_bytes(signature, content)
    return Signed(record.id, f"{record.name} ({record.owner})", root_digest(digests), digests)


def verify_model(
    path: str | Path, by: PublicKey | Trust, *, signature: str | Path | None = None, role: Role = "release"
) -> Signed:
    """Verify every file of a model against its signature.

    Args:
        path: The model: a folder or a file.
        by: The key that must have signed; or whom to trust, and then the signer needs the role.
        signature: Where it is; None: beside the model.
        role: What the signer must be trusted with.

    Raises:
        SignatureError: altered, missing or unsigned files, a signature that doesn't hold, a key that isn't trusted.
        ArtifactError: the model holds what no signature can speak of, or there is no signature.
    """
    path, signature = Path(path), Path(signature) if signature is not None else default_signature(path)
    signed = read_signature(signature, by, role=role, model=path)
    files = list_files(path, besides=signature)
    _compare(path, signed.files, files, {})
    _compare(path, signed.files, files, digest_files(files))
    return signed


def read_signature(
    signature: str | Path, by: PublicKey | Trust, *, role: Role = "release", model: str | Path = "the model"
) -> Signed:
    """What a signature says of which files, by someone who may; whether the files are so is `verify_model`'s to find out.

    Args:
        signature: The file.
        by: The key that must have signed; or whom to trust, and then the signer needs the role.
        role: What the signer must be trusted with.
        model: What is signed, for messages.

    Raises:
        SignatureError: a signature that doesn't hold, a key that isn't trusted.
        ArtifactError: there is no signature.
    """
    content = read_small(Path(signature), "give --signature FILE, or sign the model", LARGEST)
    envelope = read_envelope(content, str(signature))
    if isinstance(by, PublicKey):
        key, signer = by, "the given key"
    else:
        trusted = by.find(envelope.hint)
        if trusted is None:
            raise SignatureError(
                f"the key {envelope.hint[:12]!r} that signed {model} is unknown", "only keys in trust.yaml count", "add it there"
            )
        if refusal := trusted.refusal(role):
            raise SignatureError(f"{model} was signed by no one who may: {refusal}", f"a model is signed by a {role} key")
        key, signer = trusted.key, f"{trusted.name} ({trusted.owner})"
    signed = _resources(envelope.open(key))
    return Signed(key.id, signer, root_digest(signed), signed)


def _compare(path: Path, signed: dict[str, str], files: dict[str, Path], found: dict[str, str]) -> None:
    """Without digests first: which files there are shows at once, what is in them only after reading them all."""
    wrong = (
        ("is not signed", sorted(files.keys() - signed.keys()), "remove it, or sign the model anew"),
        ("is missing", sorted(signed.keys() - files.keys()), "fetch the model again"),
        ("was altered", [name for name in found if found[name] != signed[name]], "fetch the model again"),
    )
    for what, names, remedy in wrong:
        if names:
            more = f", and {len(names) - 1} more" if names[1:] else ""
            shown = path if names[0] == "." else path / names[0]
            raise SignatureError(f"{shown} {what}{more}", "a signature covers every file, and nothing else may be there", remedy)


def _resources(statement: dict[str, Any]) -> dict[str, str]:
    """Name to digest of a statement of the model-signing format."""
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
        "sign with martensite sign, or model_signing sign key",
    )
