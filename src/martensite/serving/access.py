"""Who may ask, how often and for how long: API keys, of which the server knows only a hash."""

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from martensite.artifacts.moments import Moment, now
from martensite.core.config import Config, nearest
from martensite.core.errors import ConfigError
from martensite.core.files import write_text

Scope = Literal["infer", "metadata", "feedback", "monitor", "alerts", "admin"]
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOKEN = re.compile(r"mt_([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{43})")
SECRET = 32  # bytes: far too many to guess, so that a fast hash is as good as a slow one


class ApiKey(Config):
    """One entry of keys.yaml.

    Attributes:
        name: By which logs and metrics know it.
        hashes: SHA-256 of its secrets; two while it is being rotated.
        scopes: What it may be used for.
        models: Names of those that it may ask; None: all.
        rate: Samples a second, on average; None: any number.
        burst: Samples that may come at once.
        quota: Samples a day (UTC); None: any number.
        expires: From then on it is no key any more.
        revoked: It is none already.
    """

    name: str = Field(pattern=f"^{NAME.pattern}$")  # pydantic searches, and no token bears another name
    hashes: tuple[str, ...] = Field(min_length=1, max_length=2)
    scopes: tuple[Scope, ...] = ("infer", "metadata")
    models: tuple[str, ...] | None = None
    rate: PositiveFloat | None = None
    burst: PositiveInt = 256
    quota: PositiveInt | None = None
    expires: Moment | None = None
    revoked: Moment | None = None

    def refusal(self, moment: datetime) -> str:
        """Why it is no key any more, or ``""``."""
        if self.revoked is not None:
            return "this key was revoked"
        if self.expires is not None and self.expires <= moment:
            return f"this key expired on {self.expires:%Y-%m-%d}"
        return ""


class Keys(Config):
    """keys.yaml: hashes only, so that who reads it can't use it.

    Attributes:
        keys: All there are.
    """

    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [one.name for one in self.keys]
        if repeated := next((one for one in names if names.count(one) > 1), None):
            raise ConfigError(f"two keys have the name {repeated}", "a key is listed once", "leave one of them out")
        return self

    def find(self, token: str) -> ApiKey | None:
        """The key that a token belongs to, whatever its state; None: it is no token of ours."""
        found = TOKEN.fullmatch(token)
        if found is None:
            return None
        key, given = next((one for one in self.keys if one.name == found[1]), None), _hash(found[2])
        # An unknown name takes as long as a wrong secret.
        stored = key.hashes if key is not None else (_hash(""),)
        matches = [hmac.compare_digest(given, one) for one in stored]
        return key if key is not None and any(matches) else None

    def get(self, name: str) -> ApiKey:
        """By name.

        Raises:
            ConfigError: there is none.
        """
        found = next((one for one in self.keys if one.name == name), None)
        if found is None:
            raise ConfigError(f"there is no API key {name!r}", remedy=nearest(name, [one.name for one in self.keys]))
        return found

    def with_key(self, key: ApiKey) -> "Keys":
        """With this one added, or in place of the one of its name."""
        known = [one.name for one in self.keys]
        if key.name in known:
            return Keys(keys=tuple(key if one.name == key.name else one for one in self.keys))
        return Keys(keys=(*self.keys, key))

    def rotated(self, name: str, keep: bool) -> tuple["Keys", str]:
        """A new secret for a key, and its token; with ``keep`` the old one is good until the next rotation."""
        key, (token, digest) = self.get(name), new_secret(name)
        hashes = (digest, key.hashes[0]) if keep else (digest,)
        return self.with_key(key.model_copy(update={"hashes": hashes})), token

    def revoked(self, name: str) -> "Keys":
        """Without the use of a key."""
        return self.with_key(self.get(name).model_copy(update={"revoked": now()}))

    def save(self, path: Path) -> None:
        """Write keys.yaml, for its owner's eyes."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False))
        path.chmod(0o600)


def new_secret(name: str) -> tuple[str, str]:
    """A token for a key, and the hash that the server keeps of it."""
    secret = secrets.token_urlsafe(SECRET)
    return f"mt_{name}.{secret}", _hash(secret)


def _hash(secret: str) -> str:
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
