"""Whom a verifier believes, and in what: the keys of trust.yaml, each with its owner and roles."""

from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import model_validator

from martensite.artifacts.moments import Moment, now
from martensite.artifacts.signing.keyring import KeyRecord, Role
from martensite.artifacts.signing.keys import PublicKey
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.files import write_text


class TrustedKey(Config):
    """One key and what it is trusted with.

    Attributes:
        name: For messages.
        owner: Whose it is; two keys of one owner are one person.
        roles: What it may sign.
        public: PEM.
        until: What it signed later is refused: the key was rotated. The time is the signer's own word.
        revoked: Nothing it ever signed is believed any more: a thief would date his signatures back.
    """

    name: str
    owner: str
    roles: tuple[Role, ...]
    public: str
    until: Moment | None = None
    revoked: Moment | None = None

    @property
    def key(self) -> PublicKey:
        """The key itself."""
        return PublicKey.parse(self.public, f"the key {self.name!r}")

    def refusal(self, role: Role, signed: datetime | None = None) -> str:
        """Why a signature of this key does not count, or ``""``.

        Args:
            role: What it would count as.
            signed: When it was made, if it says so.
        """
        if self.revoked is not None:
            return f"the key {self.name!r} of {self.owner} was revoked on {self.revoked:%Y-%m-%d}"
        if role not in self.roles:
            return f"the key {self.name!r} of {self.owner} has the role {' and '.join(self.roles) or 'of nobody'}, not {role}"
        if self.until is not None and (signed is None or signed > self.until):
            return f"the key {self.name!r} of {self.owner} was good until {self.until:%Y-%m-%d} only"
        return ""


class Trust(Config):
    """trust.yaml.

    Attributes:
        keys: All that are known. A key that isn't listed is trusted with nothing.
    """

    keys: tuple[TrustedKey, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, given in (("name", [one.name for one in self.keys]), ("public key", [one.key.id for one in self.keys])):
            if repeated := [one for one in given if given.count(one) > 1]:
                raise ConfigError(f"two keys have the {what} {repeated[0]}", "a key is listed once", "leave one of them out")
        return self

    def find(self, identity: str) -> TrustedKey | None:
        """The key of that id."""
        return next((one for one in self.keys if one.key.id == identity), None)

    def with_record(self, record: KeyRecord) -> "Trust":
        """With this key as its keyring knows it: added, or its end noted. What else is said of a known key stays."""
        known = self.find(record.id) or TrustedKey(
            name=record.name, owner=record.owner, roles=(record.role,), public=record.public
        )
        ended: dict[str, Any] = {"retired": {"until": record.changed}, "revoked": {"revoked": record.changed or now()}}
        name = {"name": record.name} if record.state == "retired" else {}  # a new key bears the old name
        given = known.model_copy(update={**ended.get(record.state, {}), **name})
        others = tuple(one for one in self.keys if one.key.id != record.id)
        return Trust(keys=(*others, given))

    def save(self, path: Path) -> None:
        """Write trust.yaml."""
        write_text(path, yaml.dump(self.model_dump(mode="json", exclude_none=True), Dumper=_Dumper, sort_keys=False))


class _Dumper(yaml.SafeDumper):
    """Writes a PEM line by line."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)
