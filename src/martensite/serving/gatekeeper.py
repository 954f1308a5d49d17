"""The door: which key a request bears, and whether it may do what it asks."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import field_validator

from martensite.artifacts.moments import now
from martensite.core.config import Config, load_yaml
from martensite.core.errors import ConfigError, MartensiteError
from martensite.serving.access import ApiKey, Keys, Scope
from martensite.serving.limits import Limits
from martensite.serving.refusal import Refusal

ANYONE = ApiKey(name="anyone", hashes=("none",), scopes=("infer", "metadata", "feedback", "monitor"))
LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
SAVED_EVERY = 5.0  # seconds: what a kill -9 can give back of a day's quota


class Access(Config):
    """Who may ask.

    Args:
        keys: keys.yaml; None: anyone who reaches the address, which must then be this machine's own.
        open: Let anyone in at any address.
        counts: File that keeps the day's quotas over a restart; None: KEYS.counts.json.
    """

    keys: Path | None = None
    open: bool = False
    counts: Path | None = None

    @field_validator("keys", "counts", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value

    def check(self, host: str) -> None:
        """Refuse a door that stands open to a network.

        Raises:
            ConfigError: no keys at an address that others reach.
        """
        if self.keys is None and not self.open and host not in LOCAL:
            raise ConfigError(
                f"{host} is reached by others and there are no API keys",
                "without keys a server listens on 127.0.0.1 only",
                "give --keys keys.yaml (martensite access new), or access: {open: true}",
            )


class Gatekeeper:
    """Knows the keys as they are in the file now.

    Args:
        settings: Where they are.

    Raises:
        ConfigError: the file can't be read.
    """

    def __init__(self, settings: Access) -> None:
        self.settings = settings
        self._counts = settings.counts or (
            settings.keys.with_name(settings.keys.name + ".counts.json") if settings.keys else None
        )
        self.limits = Limits(self._counts)
        self._stamp: object = None
        self._keys = Keys()
        self._saved = time.monotonic()
        self.refresh()

    def admit(self, headers: Mapping[str, str], scope: Scope, model: str | None = None) -> ApiKey:
        """The key of a request.

        Raises:
            Refusal: 401, no key or a wrong one; 403, a key that may not do this.
        """
        if self.settings.keys is None:
            if scope not in ANYONE.scopes or (self.settings.open and scope == "monitor"):
                raise Refusal(403, f"{scope} takes an API key", "this server has none", "give --keys keys.yaml")
            self._at_home(headers.get("host", ""))
            self._from_home(headers.get("origin", ""))
            return ANYONE
        kind, _, token = headers.get("authorization", "").partition(" ")
        key = self._keys.find(token.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise Refusal(401, "no API key that is known", "a request bears one", "send Authorization: Bearer mt_NAME.SECRET")
        if reason := key.refusal(now()):
            raise Refusal(401, reason, "", "ask for a new one")
        if scope not in key.scopes:
            raise Refusal(403, f"this key may not {scope}", f"it may {', '.join(key.scopes)}", "use another key")
        if model is not None and key.models is not None and model not in key.models:
            raise Refusal(403, "this key may not ask this model", f"it may ask {', '.join(key.models)}", "use another key")
        return key

    def _at_home(self, host: str) -> None:
        # A page in the browser on this machine can have its own name lead here (DNS rebinding); the Host header still tells it.
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not self.settings.open and name and name.strip("[]").lower() not in LOCAL:
            rule = "without API keys a server answers to this machine's own names"
            raise Refusal(403, f"the request is for the host {name[:60]!r}", rule, "ask 127.0.0.1, or give --keys keys.yaml")

    def _from_home(self, origin: str) -> None:
        # Any page that the browser shows may post here, too: it can't read the answer, but fills queues and rings alarms.
        if not self.settings.open and origin and _host(origin) not in LOCAL:
            rule = "without API keys a server answers pages of this machine only"
            raise Refusal(403, f"the request comes from a page of {origin[:60]!r}", rule, "give --keys keys.yaml")

    def refresh(self) -> str:
        """Read keys.yaml again if it changed, and keep the counts; a damaged file leaves the keys as they were.

        Returns:
            What went wrong, or ``""``.

        Raises:
            ConfigError: the first reading fails.
        """
        trouble = ""
        path = self.settings.keys
        if path is not None:
            try:
                found = path.stat()
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                if stamp != self._stamp:
                    self._keys = Keys.parse(load_yaml(path) or {})
                    first, self._stamp = self._stamp is None, stamp
                    trouble = "" if first else self.try_counts()  # a quota may be new
            except (OSError, MartensiteError) as error:
                if self._stamp is None:
                    raise ConfigError(f"{path} can't be used: {error}", "it holds API keys", "martensite access new") from None
                trouble = f"{path} can't be used, the keys stay as they were: {error}"
        if time.monotonic() - self._saved > SAVED_EVERY:
            trouble = self.keep() or trouble
        return trouble

    def try_counts(self) -> str:
        """What keeps quotas from outliving a restart, or ``""``: told at once, and not after the first request."""
        return self.keep(always=True) if any(key.quota is not None for key in self._keys.keys) else ""

    def keep(self, always: bool = False) -> str:
        """Write the counts; what went wrong, or ``""``."""
        self._saved = time.monotonic()
        try:
            self.limits.save(always)
        except MartensiteError as error:
            return (
                f"the day's quotas can't be kept and begin anew at a restart: {error}: set access: {{counts: FILE}}, or --counts"
            )
        return ""


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""
