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
  --canary 10 --out digits.yaml\n
  martensite deploy prometheus --target 127.0.0.1:9400 --webhook http://127.0.0.1:8080/v1/alerts --out watch\n
  martensite deploy grafana --out watch"""
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


@app.command("prometheus")
def prometheus(
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Folder to write to.", show_default=False)],
    target: Annotated[list[str], _word("HOST:PORT", "Metrics of a server; may repeat")],
    webhook: Annotated[str, _word("URL", "Where alerts go: /v1/alerts of a server, or what else takes Alertmanager's webhook")],
    webhook_key: Annotated[str | None, _word("FILE", "File with an API key of the scope alerts")] = None,
    key: Annotated[str | None, _word("FILE", "File with an API key of the scope monitor, for targets that ask for one")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="The targets speak TLS.")] = False,
    alertmanager: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Alertmanager listens.")] = "127.0.0.1:9093",
    interval: Annotated[str, typer.Option(metavar="TIME", help="Between two looks.")] = "15s",
    json: options.Json = False,
) -> None:
    """Configuration of Prometheus and Alertmanager: scraping, rules with their own tests, and where alerts go."""
    from martensite.cli.serving import installed

    installed()
    from martensite.serving.monitoring.deploy.prometheus import PrometheusFiles

    given = {
        "targets": target, "webhook": webhook, "webhook_key": webhook_key, "key": key, "scheme": "https" if tls else "http",
        "alertmanager": alertmanager, "interval": interval,
    }  # fmt: skip
    written = [str(path) for path in PrometheusFiles.parse(given).write(out)]
    tell(json, {"files": written}, "\n".join(written))


@app.command("grafana")
def grafana(
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Folder to write to.", show_default=False)],
    json: options.Json = False,
) -> None:
    """A Grafana dashboard with a panel for each metric, to be imported."""
    from json import dumps

    from martensite.cli.serving import installed
    from martensite.core.files import write_text

    installed()
    from martensite.serving.monitoring.deploy.grafana import dashboard

    document, path = dashboard(), out / "martensite.json"
    write_text(path, dumps(document, indent=2) + "\n")
    panels = sum(one["type"] != "row" for one in document["panels"])
    tell(json, {"files": [str(path)], "panels": panels}, f"{path}: {panels} panels")
