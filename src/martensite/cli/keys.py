"""martensite keys: who signs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.secrets import Home, PassphraseFile, keyring, passphrase, tell

NAME = "keys"
EXAMPLES = """Examples:\n
  martensite keys new release-2026 --role release --owner Ada\n
  martensite keys new hsm --token 'pkcs11:token=hsm;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'\n
  martensite keys export release-2026 --trust trust.yaml\n
  martensite keys revoke release-2026 --reason 'laptop stolen' --trust trust.yaml"""

app = typer.Typer(name=NAME, help="Keys: new, list, use, export, rotate, revoke.", epilog=EXAMPLES, no_args_is_help=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.", show_default=False)]
RoleName = Annotated[
    str, typer.Option(metavar="ROLE", help="What it may sign: release, evaluator, approver, gate, auditor or monitor.")
]
TokenUri = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="URI", help="PKCS#11 URI of a key that is in a token, instead of a file.", show_default=False
    ),
]
Owner = Annotated[str | None, typer.Option(metavar="WHO", help="Whose key it is; default: its name.", show_default=False)]
Out = Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the PEM there.", show_default=False)]
TrustFile = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", dir_okay=False, help="trust.yaml to bring up to date.", show_default=False),
]


@app.command("new")
def new(
    name: Name,
    role: RoleName = "release",
    owner: Owner = None,
    token: TokenUri = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Make a key (EC P-256) under a passphrase, or note one that is in a token; the first one is the default."""
    from martensite.core.config import nearest
    from martensite.core.errors import ConfigError

    roles = ("release", "evaluator", "approver", "gate", "auditor", "monitor")
    if role not in roles:
        raise ConfigError(f"there is no role {role!r}", remedy=nearest(role, roles))
    ring = keyring(home)
    secret = _secret(passphrase_file, token)
    record = ring.new(name, secret, role=role, owner=owner, token=token or "")  # type: ignore[arg-type]
    tell(
        json,
        record.model_dump(mode="json"),
        f"{record.name}: {record.role} key {record.id[:12]} of {record.owner} in {'its token' if token else ring.home}",
    )


@app.command("list")
def show_all(home: Home = None, json: options.Json = False) -> None:
    """All keys, with roles and states; the default has a star."""
    from rich.table import Table

    from martensite.cli.progress import plain, show
    from martensite.core.errors import ConfigError

    ring = keyring(home)
    records = [ring.record(name) for name in ring.names()]
    try:
        default = ring.record().name
    except ConfigError:
        default = ""
    if json:
        tell(True, {"default": default or None, "keys": [record.model_dump(mode="json") for record in records]}, "")
        return
    table = Table(title=f"Keys in {plain(ring.home)}", title_justify="left")
    for column in ("", "role", "owner", "key", "in", "state", "since"):
        table.add_column(column)
    for record in records:
        star = "* " if record.name == default else ""
        since = record.changed or record.created
        where = "token" if record.token else "file"
        cells = (record.role, plain(record.owner), record.id[:12], where, record.state, f"{since:%Y-%m-%d}")
        table.add_row(f"{star}{record.name}", *cells)
    show(table)


@app.command("use")
def use(name: Name, home: Home = None, json: options.Json = False) -> None:
    """Sign with this key when none is named."""
    record = keyring(home).use(name)
    tell(json, {"default": record.name}, f"{record.name} signs when no --key is given")


@app.command("export")
def export(
    name: Name,
    out: Out = None,
    trust: TrustFile = None,
    home: Home = None,
    json: options.Json = False,
) -> None:
    """The public part: as PEM on stdout or in a file, or as an entry of trust.yaml with owner, role and state."""
    from martensite.core.files import write_text

    record = keyring(home).record(name)
    if out is not None:
        write_text(out, record.public)
    if trust is not None:
        _note(record, trust)
    places = " and ".join(str(place) for place in (out, trust) if place is not None)
    tell(json, record.model_dump(mode="json"), f"{record.name} is in {places}" if places else record.public.strip())


@app.command("rotate")
def rotate(
    name: Name,
    token: TokenUri = None,
    trust: TrustFile = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """A new key under the same name; what the old one signed until now stays good, and it signs nothing more."""
    record, retired = keyring(home).rotate(name, _secret(passphrase_file, token), token or "")
    if trust is not None:
        _note(retired, trust)
        _note(record, trust)
    tell(
        json,
        {"new": record.model_dump(mode="json"), "retired": retired.model_dump(mode="json")},
        f"{record.name} is now {record.id[:12]}; the old key is {retired.name}, retired",
    )


@app.command("revoke")
def revoke(
    name: Name,
    reason: Annotated[str, typer.Option(metavar="WHY", help="E.g. 'laptop stolen'.", show_default=False)],
    trust: TrustFile = None,
    home: Home = None,
    json: options.Json = False,
) -> None:
    """Delete the private part for good, unless it is in a token; with --trust, nothing it ever signed is believed any more."""
    record = keyring(home).revoke(name, reason)
    if trust is not None:
        _note(record, trust)
    todo = "" if trust is not None else "; verifiers learn it from trust.yaml: run keys export --trust FILE"
    todo += "; in its token it stays until the token's own tool deletes it" if record.token else ""
    tell(json, record.model_dump(mode="json"), f"{record.name} ({record.id[:12]}) is revoked{todo}")


def _secret(file: Path | None, token: str | None) -> str:
    return passphrase(file, what="PIN") if token else passphrase(file, fresh=True)


def _note(record: Any, path: Path) -> None:
    from martensite.artifacts.signing import Trust

    (Trust.from_yaml(path) if path.exists() else Trust()).with_record(record).save(path)
