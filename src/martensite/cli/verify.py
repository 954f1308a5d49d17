"""martensite verify: is every file as it was signed, by someone who may?"""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.secrets import installed, tell
from martensite.cli.sign import Model, SignatureFile

NAME = "verify"
EXAMPLES = """Examples:\n
  martensite verify models/hardened --trust trust.yaml\n
  martensite verify model.pkl --key release.pub --signature model.sig"""


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
    signature: SignatureFile = None,
    json: options.Json = False,
) -> None:
    """Verify every file; anything altered, missing or not signed ends with exit code 1."""
    installed()
    from martensite.artifacts.signing import PublicKey, Trust, verify_model
    from martensite.core.errors import ConfigError

    if (key is None) == (trust is None):
        raise ConfigError("a signature is verified by one source", "a key or a trust.yaml", "give --key PUB or --trust FILE")
    by = PublicKey.read(key) if key is not None else Trust.from_yaml(Path(str(trust)))
    signed = verify_model(bundle, by, signature=signature)
    files = {"digest": f"sha256:{signed.digest}", "files": signed.files}
    document = {"verified": True, "key": signed.key, "signer": signed.signer, **files}
    tell(json, document, f"{bundle}: {len(signed.files)} files as {signed.signer} signed them, sha256:{signed.digest[:12]}...")
