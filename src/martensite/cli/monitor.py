"""martensite monitor: what a server is doing, live in a terminal, or once."""

import json as jsonlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options

if TYPE_CHECKING:
    from martensite.serving.monitoring.snapshot import Snapshot

NAME = "monitor"
EXAMPLES = """Examples:\n
  martensite monitor http://127.0.0.1:8080                          live; Ctrl-C ends it\n
  MARTENSITE_TOKEN=mt_operator... martensite monitor https://models.example.org --ca ca.pem\n
  martensite monitor http://127.0.0.1:8080 --model digits --once\n
  martensite monitor http://127.0.0.1:8080 --json | jq '.models[].standing.word'"""

TOKEN = "MARTENSITE_TOKEN"  # never on the command line, which others see
PATIENCE = 10.0  # seconds until a server that doesn't answer is said not to


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the server.", show_default=False)],
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A model to show; may repeat. Default: all.", show_default=False)
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one picture and end; so does output that is no terminal.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="PEM of who vouches for its certificate.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Traffic, decisions, drift, alerts, evidence and flagged inputs of a server.

    The API key (scope monitor) is taken from MARTENSITE_TOKEN. Of one picture (--once, --json) the exit code is 1 if a model
    isn't serving.
    """
    import sys

    from rich.console import Console

    from martensite.cli.monitor_view import view
    from martensite.cli.output import print_json
    from martensite.cli.serving import installed

    installed()
    window = Window(url, ca)
    document = window.look(model)
    if json:
        print_json(document)
    else:
        record, console = read(document, window.url), Console(file=sys.stdout, highlight=False, emoji=False)
        if console.is_terminal and not once:
            return _watch(window, record, model, every, console)
        console.print(view(record, window.url))
    return 0 if all(one.get("ready") for one in document["models"]) else 1


class Window:
    """A connection to a server's record.

    Args:
        url: Of the server, with or without a path.
        ca: PEM of certificate authorities; None: the system's.

    Raises:
        ConfigError: no address of HTTP.
    """

    def __init__(self, url: str, ca: Path | None) -> None:
        import os
        import ssl

        import httpx

        from martensite.core.errors import ConfigError

        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"{url!r} is no address of a server", "it begins with http:// or https://", "e.g. http://127.0.0.1:8080"
            )
        self.url = url.rstrip("/").removesuffix("/ui").removesuffix("/v1/monitor")
        token = os.environ.get(TOKEN)
        self._failures = httpx.HTTPError
        self._http = httpx.Client(
            timeout=PATIENCE,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            verify=True if ca is None else ssl.create_default_context(cafile=ca),
        )

    def look(self, names: list[str] | None = None) -> dict[str, Any]:
        """The record as it is now.

        Args:
            names: Of the models to keep in it; None or empty: all.

        Raises:
            UnreachableError: nobody answers, the key is refused, or the answer is no record.
            ConfigError: a model that isn't there.
        """
        from martensite.core.config import nearest
        from martensite.core.errors import ConfigError, UnreachableError

        try:
            answer = self._http.get(f"{self.url}/v1/monitor")
            document = answer.json()
        except self._failures as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(f"{self.url} can't be reached: {reason}", "", "is the server running?") from None
        except ValueError:
            document = None
        if answer.status_code in (401, 403):
            said = document.get("error", "") if isinstance(document, dict) else ""
            rule = "the monitor takes an API key with the scope monitor"
            raise UnreachableError(f"{self.url} refuses: {said}", rule, f"put it into {TOKEN}")
        models: Any = document.get("models") if isinstance(document, dict) else None
        whole = isinstance(models, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in models)
        if answer.status_code != 200 or document is None or not whole:
            rule = "a Martensite server has a record at /v1/monitor"
            raise UnreachableError(f"{self.url} answers {answer.status_code} and no record", rule, "check the address")
        known = [one["name"] for one in models]
        if missing := next((name for name in names or () if name not in known), None):
            raise ConfigError(f"{self.url} serves no model {missing!r}", f"it serves {', '.join(known)}", nearest(missing, known))
        return {**document, "models": [one for one in models if not names or one["name"] in names]}


def read(document: dict[str, Any], url: str) -> "Snapshot":
    """The record.

    Raises:
        ConfigError: it is one of another version of Martensite.
    """
    from martensite.core.errors import ConfigError
    from martensite.serving.monitoring.snapshot import Snapshot

    try:
        return Snapshot.model_validate_json(jsonlib.dumps(document))
    except ConfigError as error:
        rule = "server and command are of one version, or near"
        raise ConfigError(f"the record of {url} isn't understood: {error.value}", rule, "--json shows it as it is") from None


def _watch(window: Window, record: "Snapshot", names: list[str] | None, every: float, console: Any) -> int:
    from rich.live import Live

    from martensite.cli.monitor_view import view
    from martensite.core.errors import MartensiteError

    trouble = ""
    try:
        with Live(view(record, window.url, "live"), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                try:
                    record, trouble = read(window.look(names), window.url), ""
                except MartensiteError as error:
                    trouble = error.value
                live.update(view(record, window.url, "live", trouble), refresh=True)
    except KeyboardInterrupt:
        return 0
