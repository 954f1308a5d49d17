"""Signatures of whole models in the OpenSSF model-signing format, v1.0: a statement over the SHA-256 of every file.

The ``model_signing`` command verifies what is signed here, and what it signs is verified here: by a key, by a certificate, or
keyless. Verifying is stricter: no file is left out because the signature says so, none may be there that is not signed, and
neither links nor empty folders pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from martensite.artifacts.signing.certificates import Authorities, signing_chain
from martensite.artifacts.signing.dsse import read_envelope, seal
from martensite.artifacts.signing.keyless import Identity, Sigstore
from martensite.artifacts.signing.keyring import Keyring, Role
from martensite.artifacts.signing.keys import PublicKey
from martensite.artifacts.signing.statement import model_digests, model_statement
from martensite.artifacts.signing.tree import Known, digest_files, list_files, read_small, root_digest
from martensite.artifacts.signing.trust import Trust
from martensite.artifacts.stated import stated_digest
from martensite.core.acts import Act, recorded
from martensite.core.config import canonical_json
from martensite.core.errors import ArtifactError, SignatureError
from martensite.core.files import write_bytes, write_text

LARGEST = 64 * 2**20  # bytes of a signature: a few hundred thousand files
Believed = PublicKey | Trust | Authorities | Identity


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


def _signed(given: Mapping[str, Any], signed: Signed | None) -> Act:
    path, details = Path(given["path"]), {"model": stated_digest(given["path"])}
    if signed is None:
        return Act(name=path.name, details=details)
    details |= {"key": signed.key, "signer": signed.signer}
    return Act("files", f"sha256:{signed.digest}", path.resolve().name, details=details)


@recorded("sign", _signed, announced=True)
def sign_model(
    path: str | Path,
    ring: Keyring,
    passphrase: str,
    *,
    key: str | None = None,
    signature: str | Path | None = None,
    certificates: Path | None = None,
) -> Signed:
    """Sign a folder or a file.

    Args:
        path: The model.
        ring: Where the key is.
        passphrase: Of the key; the PIN of its token.
        key: Its name; None: the default key.
        signature: Where to write; None: beside the model.
        certificates: PEM file: the key's certificate, then those of authorities; they go into the signature.

    Raises:
        ArtifactError: the model holds what no signature can speak of or changes, a wrong passphrase, another key's certificate.
        ConfigError: no such key, or one that is retired or revoked.
        StorageError: the disk refused it.
    """
    path, signature = Path(path), Path(signature) if signature is not None else default_signature(path)
    signer, record = ring.private(passphrase, key), ring.record(key)  # what is wrong here shows before gigabytes are hashed
    chain = signing_chain(certificates, signer.public) if certificates is not None else ()
    digests = _read(path, signature)
    write_text(signature, seal(model_statement(path.resolve().name, digests), signer, chain))
    return Signed(record.id, f"{record.name} ({record.owner})", root_digest(digests), digests)


@recorded("sign", _signed, announced=True)
def sign_keyless(
    path: str | Path,
    sigstore: Sigstore,
    *,
    token: str | None = None,
    ask: bool = False,
    signature: str | Path | None = None,
) -> Signed:
    """Sign a folder or a file as who an identity provider says one is.

    Args:
        path: The model.
        sigstore: Which one certifies and logs it.
        token: Identity token; None: of the CI job that this runs in.
        ask: Whether a person is there who can sign in.
        signature: Where to write; None: beside the model.

    Raises:
        ArtifactError: as `sign_model`; no network, or a token that isn't believed.
        ConfigError: there is no token.
        StorageError: the disk refused it.
    """
    path, signature = Path(path), Path(signature) if signature is not None else default_signature(path)
    digests = _read(path, signature)
    statement = canonical_json(model_statement(path.resolve().name, digests)).encode()
    content = sigstore.seal(statement, token, ask=ask)
    write_bytes(signature, content)
    key = read_envelope(content, "the new signature").hint
    return Signed(key, "the identity of its certificate", root_digest(digests), digests)


@recorded("verify", _signed)
def verify_model(
    path: str | Path,
    by: Believed,
    *,
    signature: str | Path | None = None,
    role: Role = "release",
    known: Known | None = None,
) -> Signed:
    """Verify every file of a model against its signature.

    Args:
        path: The model: a folder or a file.
        by: The key, authorities or identity that must have signed; or whom to trust, and then the signer needs the role.
        signature: Where it is; None: beside the model.
        role: What the signer must be trusted with.
        known: Digests that need not be computed anew; only where a policy allows it.

    Raises:
        SignatureError: altered, missing or unsigned files, a signature that doesn't hold, a signer who isn't trusted.
        ArtifactError: the model holds what no signature can speak of, or there is no signature.
    """
    path, signature = Path(path), Path(signature) if signature is not None else default_signature(path)
    signed = read_signature(signature, by, role=role, model=path)
    files = list_files(path, besides=signature)
    _compare(path, signed.files, files, {})
    _compare(path, signed.files, files, digest_files(files, known))
    return signed


def _read(path: Path, signature: Path) -> dict[str, str]:
    files = list_files(path, besides=signature)
    digests = digest_files(files)
    if list(list_files(path, besides=signature)) != list(files):
        raise ArtifactError(f"{path} changed while it was read", "what is signed must hold still", "sign it again")
    return digests


def read_signature(signature: str | Path, by: Believed, *, role: Role = "release", model: str | Path = "the model") -> Signed:
    """What a signature says of which files, by someone who may; whether the files are so is `verify_model`'s to find out.

    Args:
        signature: The file.
        by: The key, authorities or identity that must have signed; or whom to trust, and then the signer needs the role.
        role: What the signer must be trusted with.
        model: What is signed, for messages.

    Raises:
        SignatureError: a signature that doesn't hold, a signer who isn't trusted.
        ArtifactError: there is no signature.
    """
    content = read_small(Path(signature), "give --signature FILE, or sign the model", LARGEST)
    envelope = read_envelope(content, str(signature))
    if isinstance(by, Identity):
        signed = model_digests(by.statement(content, str(signature)))
        return Signed(envelope.hint, f"{by.identity} ({by.provider})", root_digest(signed), signed)
    if isinstance(by, PublicKey):
        key, signer = by, "the given key"
    elif isinstance(by, Authorities):
        key, signer = by.signer(envelope)
    else:
        trusted = by.find(envelope.hint)
        if trusted is None:
            raise SignatureError(
                f"the key {envelope.hint[:12]!r} that signed {model} is unknown", "only keys in trust.yaml count", "add it there"
            )
        if refusal := trusted.refusal(role):
            raise SignatureError(f"{model} was signed by no one who may: {refusal}", f"a model is signed by a {role} key")
        key, signer = trusted.key, f"{trusted.name} ({trusted.owner})"
    signed = model_digests(envelope.open(key))
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
