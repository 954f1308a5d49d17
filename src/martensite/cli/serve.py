"""martensite serve: models that are served because their evidence verifies."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options

NAME = "serve"
EXAMPLES = """Examples:\n
  martensite serve models/hardened                                 your own keyring says whom to trust\n
  martensite serve models/hardened --trust trust.yaml --policy strict --port 9000\n
  martensite serve --config serve.yaml\n
  martensite serve models/hardened --host 0.0.0.0 --keys keys.yaml --tls-cert tls.crt --tls-key tls.key\n
  martensite serve models/draft --insecure-no-evidence              for development"""

LOUD = (
    "WARNING: --insecure-no-evidence: NOTHING IS VERIFIED. Whoever can write the bundle decides what is answered. "
    "For development on this machine only."
)


def _file(what: str) -> Any:
    return typer.Option(metavar="FILE", dir_okay=False, help=f"{what}.", show_default=False)


def _word(name: str, what: str) -> Any:
    return typer.Option(metavar=name, help=f"{what}.", show_default=False)


def command(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="What to serve, unless --config says it.", show_default=False),
    ] = None,
    config: Annotated[Path | None, _file("serve.yaml: all settings, several models, canaries, shadows")] = None,
    name: Annotated[str | None, _word("NAME", "Of the model in URLs; default: the bundle's folder")] = None,
    host: Annotated[str | None, _word("ADDRESS", "To listen on; default 127.0.0.1. Others need --keys")] = None,
    port: Annotated[int | None, _word("PORT", "To listen on; default 8080, 0 for any that is free")] = None,
    policy: Annotated[str | None, _word("POLICY", "default, strict, research, FILE.yaml or FILE.rego")] = None,
    trust: Annotated[Path | None, _file("trust.yaml: whose word counts; default: the keys of your own keyring")] = None,
    claims: Annotated[Path | None, _file("Claims about the bundle; default: BUNDLE.claims.jsonl")] = None,
    signature: Annotated[Path | None, _file("Signature of the bundle; default: BUNDLE.sig")] = None,
    versions: Annotated[Path | None, _file("Record of the versions that passed, against replay; kept up to date")] = None,
    keys: Annotated[Path | None, _file("API keys, made by 'martensite access new'; default: none are asked for")] = None,
    counts: Annotated[Path | None, _file("Where the day's quotas are kept over a restart; default: KEYS.counts.json")] = None,
    tls_cert: Annotated[Path | None, _file("TLS certificate with its chain, PEM")] = None,
    tls_key: Annotated[Path | None, _file("TLS private key, PEM")] = None,
    backend: Annotated[str | None, _word("KIND", "torch (default) or onnxruntime")] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads that torch uses.", show_default=False)] = None,
    fail: Annotated[str | None, _word("HOW", "An unproven model: exit (default), or open-port, not ready")] = None,
    insecure_no_evidence: Annotated[
        bool, typer.Option("--insecure-no-evidence", help="Verify nothing. For development on this machine only.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Serve models by the Open Inference Protocol v2, once signature, claims and policy are verified on what is loaded.

    Every setting but --insecure-no-evidence is taken from the environment, too: MARTENSITE_SERVE_PORT=9000.
    """
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.cli.serving import installed, settings, talk
    from martensite.core.errors import ConfigError

    installed()
    from martensite.serving import serve

    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("one of --tls-cert and --tls-key was given", "TLS takes both", "give the other")
    given = {
        "bundle": bundle, "name": name, "host": host, "port": port, "policy": policy, "trust": trust, "claims": claims,
        "signature": signature, "versions": versions, "keys": keys, "counts": counts, "tls_certificate": tls_cert,
        "tls_key": tls_key, "backend": backend, "threads": threads, "fail": fail,
        "insecure_no_evidence": insecure_no_evidence or None,
    }  # fmt: skip
    asked = settings(config, given)
    talk()
    if asked.insecure_no_evidence:
        print(LOUD, file=sys.stderr, flush=True)

    def started(url: str) -> None:
        names = [one.name for one in asked.models]
        if json:
            print_json({"url": url, "models": names, "evidence": not asked.insecure_no_evidence})
        else:
            show(plain(f"{url}/v2  ({', '.join(names)})  page: {url}/docs  monitor: {url}/ui"))

    serve(asked, started=started)
    return 0
