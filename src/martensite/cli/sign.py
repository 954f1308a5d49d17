"""martensite sign: a signature over every file of a model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring, secret_of, tell
from martensite.core.errors import ArtifactError, ConfigError

NAME = "sign"
EXAMPLES = """Examples:\n
  martensite sign models/hardened --key release-2026\n
  martensite sign model.pkl --signature model.pkl.sig --passphrase-file secret.txt\n
  martensite sign models/hardened --key release-2026 --certificate chain.pem\n
  martensite sign models/hardened --sigstore --identity-token token.jwt"""

Model = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A bundle, or any folder or file that holds a model.", show_default=False)
]
SignatureFile = Annotated[
    Path | None,
    typer.Option("--signature", metavar="FILE", dir_okay=False, help="Signature; default: BUNDLE.sig.", show_default=False),
]
SigstoreConfig = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help="Client trust configuration of another Sigstore than the public one.",
        show_default=False,
    ),
]


def command(
    bundle: Model,
    key: KeyName = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="CHAIN",
            dir_okay=False,
            help="PEM: the key's certificate, then those of authorities; they go into the signature.",
            show_default=False,
        ),
    ] = None,
    sigstore: Annotated[
        bool, typer.Option("--sigstore", help="Sign without a key: as who an identity provider says you are.")
    ] = False,
    identity_token: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="For --sigstore: file with the identity token; default: the CI job's, or sign in with a browser.",
            show_default=False,
        ),
    ] = None,
    sigstore_config: SigstoreConfig = None,
    signature: SignatureFile = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Sign the SHA-256 of every file in the OpenSSF model-signing format; `model_signing verify` checks it, too."""
    ring = keyring(home)
    from martensite.artifacts.signing import Sigstore, default_signature, sign_keyless, sign_model

    path = signature or default_signature(bundle)
    if sigstore:
        if key is not None or certificate is not None:
            raise ConfigError("--sigstore was given with --key or --certificate", "one signs in one way", "leave one out")
        token = _token(identity_token) if identity_token is not None else None
        ask = sys.stdin.isatty()
        signed = sign_keyless(bundle, Sigstore(sigstore_config), token=token, ask=ask, signature=path)
    else:
        if identity_token is not None or sigstore_config is not None:
            raise ConfigError("an option of keyless signing was given", "it needs --sigstore", "add it, or leave the option out")
        record = ring.record(key)
        secret = secret_of(record, passphrase_file)
        signed = sign_model(bundle, ring, secret, key=record.name, signature=path, certificates=certificate)
    document = {"signature": str(path), "key": signed.key, "digest": f"sha256:{signed.digest}", "files": signed.files}
    tell(json, document, f"{path}: {len(signed.files)} files signed by {signed.signer}, sha256:{signed.digest[:12]}...")


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", remedy="give a file with the identity token") from None
