"""martensite verify: is every file as it was signed, by someone who may?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options
from martensite.cli.secrets import installed, tell
from martensite.cli.sign import Model, SignatureFile, SigstoreConfig
from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.artifacts.signing import Digests
    from martensite.artifacts.signing.model import Believed

NAME = "verify"
EXAMPLES = """Examples:\n
  martensite verify models/hardened --trust trust.yaml\n
  martensite verify model.pkl --key release.pub --signature model.sig\n
  martensite verify models/hardened --certificate-chain ca.pem --identity ada@example.org\n
  martensite verify models/hardened --identity ada@example.org --identity-provider https://accounts.google.com"""


def command(
    bundle: Model,
    key: Annotated[
        Path | None,
        typer.Option(metavar="PUB", dir_okay=False, help="Public key that must have signed: a PEM file.", show_default=False),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="trust.yaml: the signer needs the release role.", show_default=False),
    ] = None,
    certificate_chain: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Authorities that must have certified the signer: PEM; again for more.",
            show_default=False,
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="WHO", help="Who must have signed: e-mail address, URI or name in the certificate.", show_default=False
        ),
    ] = None,
    identity_provider: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Of a keyless signature: who said so, e.g. its issuer's URL.", show_default=False),
    ] = None,
    sigstore_config: SigstoreConfig = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Of a keyless signature: with Sigstore's keys as they were fetched last.")
    ] = False,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="A policy; if it allows that (verification.reuse_hours), files that didn't change aren't read again.",
            show_default=False,
        ),
    ] = None,
    signature: SignatureFile = None,
    json: options.Json = False,
) -> None:
    """Verify every file; anything altered, missing or not signed ends with exit code 1."""
    installed()
    from martensite.artifacts.signing import verify_model

    keyless = (sigstore_config, offline or None)
    by = _believed(key, trust, certificate_chain or [], identity, identity_provider, keyless)
    known = _known(policy) if policy is not None else None
    signed = verify_model(bundle, by, signature=signature, known=known)
    if known is not None:
        known.save()
    reused = known.reused if known is not None else 0
    files = {"digest": f"sha256:{signed.digest}", "files": signed.files, "reused": reused}
    document = {"verified": True, "key": signed.key, "signer": signed.signer, **files}
    unread = f", {reused} of them not read again" if reused else ""
    text = f"{bundle}: {len(signed.files)} files as {signed.signer} signed them{unread}, sha256:{signed.digest[:12]}..."
    tell(json, document, text)


def _known(policy: str) -> "Digests | None":
    from martensite.cli.reuse import digests_of
    from martensite.gates.policy import Policy  # which takes seconds to import

    return digests_of(Policy.load(policy))


def _believed(
    key: Path | None,
    trust: Path | None,
    authorities: list[Path],
    identity: str | None,
    provider: str | None,
    keyless: tuple[Path | None, bool | None],
) -> "Believed":
    from martensite.artifacts.signing import Authorities, Identity, PublicKey, Sigstore, Trust

    if sum((key is not None, trust is not None, bool(authorities), provider is not None)) != 1:
        raise ConfigError(
            "a signature is verified by one source",
            "a key, a trust.yaml, authorities, or an identity provider",
            "give --key PUB, --trust FILE, --certificate-chain FILE, or --identity WHO --identity-provider URL",
        )
    if any(keyless) and provider is None:
        raise ConfigError("an option of keyless signatures was given", "it needs --identity-provider", "add it, or leave it out")
    if key is not None or trust is not None:
        if identity is not None:
            raise ConfigError("--identity was given with a key or trust.yaml", "these say who signed", "leave --identity out")
        return PublicKey.read(key) if key is not None else Trust.from_yaml(Path(str(trust)))
    if provider is None:
        return Authorities.read(authorities, identity)
    if identity is None:
        raise ConfigError(f"nobody of {provider} was named", "anyone can have a certificate of Sigstore", "add --identity WHO")
    return Identity(identity, provider, Sigstore(keyless[0], bool(keyless[1])))
