"""martensite access: API keys of a server."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.secrets import tell

if TYPE_CHECKING:
    from martensite.serving.access import Keys

NAME = "access"
EXAMPLES = """Examples:\n
  martensite access new mobile-app --keys keys.yaml --rate 50 --quota 100000\n
  martensite access new operator --keys keys.yaml --scope infer --scope metadata --scope admin --days 90\n
  martensite access list --keys keys.yaml\n
  martensite access rotate mobile-app --keys keys.yaml\n
  martensite access revoke mobile-app --keys keys.yaml"""
app = typer.Typer(
    name=NAME, help="API keys of a server: make, list, rotate, revoke. The file holds hashes only.", epilog=EXAMPLES,
    no_args_is_help=True,
)  # fmt: skip

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name in logs and metrics.", show_default=False)]
File = Annotated[
    Path, typer.Option("--keys", metavar="FILE", dir_okay=False, help="The file that the server reads.", show_default=False)
]


@app.command("new")
def new(
    name: Name,
    keys: File,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="infer, metadata, feedback, monitor, alerts or admin; may repeat. Default: infer and metadata.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A model that it may ask; may repeat. Default: all.")
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="N", help="Samples a second on average.", show_default=False)] = None,
    burst: Annotated[int, typer.Option(min=1, metavar="N", help="Samples that may come at once.")] = 256,
    quota: Annotated[int | None, typer.Option(min=1, metavar="N", help="Samples a day.", show_default=False)] = None,
    days: Annotated[int | None, typer.Option(min=1, metavar="N", help="Days until it expires.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Make a key and print its token, once: the file keeps a hash."""
    from martensite.artifacts.moments import now
    from martensite.core.errors import ConfigError
    from martensite.serving.access import ApiKey, new_secret

    known = _read(keys) if keys.exists() else _empty()
    if any(one.name == name for one in known.keys):
        raise ConfigError(f"there is a key {name!r} already", "a name is one key's", "rotate it, or choose another name")
    token, digest = new_secret(name)
    given: dict[str, Any] = {"name": name, "hashes": [digest], "rate": rate, "burst": burst, "quota": quota}
    if scope:
        given["scopes"] = scope
    if model:
        given["models"] = model
    if days is not None:
        given["expires"] = now() + timedelta(days=days)
    key = ApiKey.parse(given)
    known.with_key(key).save(keys)
    tell(json, {"name": name, "token": token, "keys": str(keys)}, token)


@app.command("list")
def show_all(keys: File, json: options.Json = False) -> None:
    """All keys, with what they may do."""
    from rich.table import Table

    from martensite.artifacts.moments import now
    from martensite.cli.progress import plain, show

    known = _read(keys)
    if json:
        tell(True, known.model_dump(mode="json"), "")
        return
    table = Table(title=f"API keys in {plain(keys)}", title_justify="left")
    for column in ("", "scopes", "models", "rate", "quota", "state"):
        table.add_column(column)
    for key in known.keys:
        state = key.refusal(now()) or ("rotating" if len(key.hashes) > 1 else "good")
        rate, quota = f"{key.rate:g}/s" if key.rate else "any", f"{key.quota:,}/day" if key.quota else "any"
        table.add_row(key.name, " ".join(key.scopes), " ".join(key.models or ("all",)), rate, quota, state)
    show(table)


@app.command("rotate")
def rotate(
    name: Name,
    keys: File,
    at_once: Annotated[bool, typer.Option("--at-once", help="End the old token now, not at the next rotation.")] = False,
    json: options.Json = False,
) -> None:
    """A new token for a key; the old one stays good until it is rotated again, so that clients can change over."""
    known, token = _read(keys).rotated(name, keep=not at_once)
    known.save(keys)
    tell(json, {"name": name, "token": token, "keys": str(keys)}, token)


@app.command("revoke")
def revoke(name: Name, keys: File, json: options.Json = False) -> None:
    """End a key; a running server notices within two seconds."""
    known = _read(keys).revoked(name)
    known.save(keys)
    tell(json, {"name": name, "revoked": True, "keys": str(keys)}, f"{name} is revoked")


def _read(path: Path) -> "Keys":
    from martensite.core.config import load_yaml
    from martensite.serving.access import Keys

    return Keys.parse(load_yaml(path) or {})


def _empty() -> "Keys":
    from martensite.serving.access import Keys

    return Keys()
