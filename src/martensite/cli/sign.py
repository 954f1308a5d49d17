"""martensite sign: a signature over every file of a model."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.secrets import Home, KeyName, PassphraseFile, keyring, passphrase, tell

NAME = "sign"
EXAMPLES = """Examples:\n
  martensite sign models/hardened --key release-2026\n
  martensite sign model.pkl --signature model.pkl.sig --passphrase-file secret.txt"""

Model = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A bundle, or any folder or file that holds a model.", show_default=False)
]
SignatureFile = Annotated[
    Path | None,
    typer.Option("--signature", metavar="FILE", dir_okay=False, help="Signature; default: BUNDLE.sig.", show_default=False),
]


def command(
    bundle: Model,
    key: KeyName = None,
    signature: SignatureFile = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Sign the SHA-256 of every file in the OpenSSF model-signing format; `model_signing verify key` checks it, too."""
    ring = keyring(home)
    from martensite.artifacts.signing import default_signature, sign_model

    record, path = ring.record(key), signature or default_signature(bundle)
    signed = sign_model(bundle, ring, passphrase(passphrase_file), key=record.name, signature=path)
    document = {"signature": str(path), "key": signed.key, "digest": f"sha256:{signed.digest}", "files": signed.files}
    tell(json, document, f"{path}: {len(signed.files)} files signed by {signed.signer}, sha256:{signed.digest[:12]}...")
