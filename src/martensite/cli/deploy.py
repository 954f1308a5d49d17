"""martensite deploy: files for where a server is to run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.secrets import tell

NAME = "deploy"
EXAMPLES = """Examples:\n
  martensite deploy kserve digits --image registry/martensite:1 --storage s3://models/digits --trust trust --keys api-keys\n
  martensite deploy kserve digits --image registry/martensite:2 --storage pvc://models/digits --trust trust --keys api-keys
  --canary 10 --out digits.yaml"""
app = typer.Typer(name=NAME, help="Files for where a server is to run.", epilog=EXAMPLES, no_args_is_help=True)


def _word(name: str, what: str) -> Any:
    return typer.Option(metavar=name, help=f"{what}.", show_default=False)


@app.command("kserve")
def kserve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of service and model.", show_default=False)],
    image: Annotated[str, _word("IMAGE", "Container image that holds martensite with its extras serve and evidence")],
    storage: Annotated[str, _word("URI", "Folder of the bundle, its signature and claims: s3://, gs://, pvc://")],
    trust: Annotated[str, _word("CONFIGMAP", "ConfigMap that holds trust.yaml")],
    keys: Annotated[str, _word("SECRET", "Secret that holds keys.yaml")],
    bundle: Annotated[str, typer.Option(metavar="FOLDER", help="The bundle's folder in the storage.")] = "model",
    policy: Annotated[str, typer.Option(metavar="POLICY", help="Policy that the gate asks by.")] = "default",
    namespace: Annotated[str | None, _word("NAME", "Namespace of the service")] = None,
    cpu: Annotated[str, typer.Option(metavar="N", help="Cores of a replica.")] = "2",
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of a replica.")] = "2Gi",
    replicas: Annotated[tuple[int, int], typer.Option(metavar="MIN MAX", help="Replicas, at least and at most.")] = (1, 3),
    canary: Annotated[int | None, _word("PERCENT", "Traffic for this revision; the one before keeps the rest")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, not to stdout.")] = None,
    json: options.Json = False,
) -> None:
    """A KServe InferenceService (v1beta1) as YAML: a predictor that is ready only once the evidence verifies."""
    import yaml

    from martensite.core.files import write_text
    from martensite.serving.kserve import KServe

    given = {
        "name": name, "image": image, "storage": storage, "trust": trust, "keys": keys, "bundle": bundle, "policy": policy,
        "namespace": namespace, "cpu": cpu, "memory": memory, "replicas": replicas, "canary": canary,
    }  # fmt: skip
    document = KServe.parse(given).manifest()
    text = yaml.safe_dump(document, sort_keys=False)
    if out is not None:
        write_text(out, text)
    tell(json, document, f"{out}: InferenceService {name}" if out is not None else text.rstrip())
