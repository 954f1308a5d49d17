"""Settings from the environment, over those of serve.yaml and under those of the command line."""

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from martensite.core.config import explain, nearest
from martensite.core.errors import ConfigError

PREFIX = "MARTENSITE_SERVE_"

# Where a setting of the environment or of the command line belongs in serve.yaml.
SERVER: dict[str, tuple[str, ...]] = {
    "host": ("host",),
    "port": ("port",),
    "keys": ("access", "keys"),
    "counts": ("access", "counts"),
    "tls_certificate": ("tls", "certificate"),
    "tls_key": ("tls", "key"),
    "audit": ("audit", "log"),
    "threads": ("threads",),
    "fail": ("fail",),
    "insecure_no_evidence": ("insecure_no_evidence",),
}
MODEL: dict[str, tuple[str, ...]] = {
    "bundle": ("bundle",),
    "name": ("name",),
    "backend": ("backend",),
    "policy": ("evidence", "policy"),
    "trust": ("evidence", "trust"),
    "claims": ("evidence", "claims"),
    "signature": ("evidence", "signature"),
    "versions": ("evidence", "versions"),
}


class Environment(BaseSettings):
    """``MARTENSITE_SERVE_...``. That nothing be verified can't be asked here: an environment is inherited unseen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    config: str | None = None
    host: str | None = None
    port: int | None = None
    keys: str | None = None
    counts: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    audit: str | None = None
    threads: int | None = None
    fail: Literal["exit", "open-port"] | None = None
    bundle: str | None = None
    name: str | None = None
    backend: Literal["torch", "onnxruntime"] | None = None
    policy: str | None = None
    trust: str | None = None
    claims: str | None = None
    signature: str | None = None
    versions: str | None = None


def from_environment() -> dict[str, Any]:
    """The settings that are there.

    Raises:
        ConfigError: an unknown name, or a value that is none.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Environment.model_fields}
    if odd := sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known):
        raise ConfigError(f"the environment has {odd[0]}", "a misspelt setting is refused", nearest(odd[0].upper(), known))
    try:
        return Environment().model_dump(exclude_none=True)
    except ValidationError as error:
        raise explain(Environment, error) from None


def settle(document: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """serve.yaml with settings put into their places, the later over the earlier.

    Args:
        document: serve.yaml, or empty.
        layers: Flat settings: the environment's, then the command line's; None is no setting.

    Raises:
        ConfigError: a setting of one model where there are several.
    """
    settled = {**document}
    given = {name: value for layer in layers for name, value in layer.items() if value is not None}
    for name, place in SERVER.items():
        if name in given:
            _put(settled, place, given[name])
    mine = {name: given[name] for name in MODEL if name in given}
    if not mine:
        return settled
    models = settled.get("models") or [{}]
    if not isinstance(models, list) or len(models) != 1 or not isinstance(models[0], dict):
        rule = "a setting of one model is given where there is one"
        raise ConfigError(f"{next(iter(mine))} was given with several models", rule, "put it into serve.yaml")
    model = {**models[0]}
    for name, value in mine.items():
        _put(model, MODEL[name], value)
    return {**settled, "models": [model]}


def _put(document: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        inner = document.get(part)
        document[part] = {**inner} if isinstance(inner, dict) else {}
        document = document[part]
    document[place[-1]] = value
