"""What ``serve``, ``access`` and ``deploy`` share: the extra, and settings from file, environment and command line."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.serving import ServeConfig


def installed() -> None:
    """Refuse early where the extra is missing.

    Raises:
        ConfigError: it is.
    """
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import pydantic_settings  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"the package {error.name} is missing", remedy="pip install 'martensite[serve,evidence]'") from None


def settings(config: Path | None, given: dict[str, Any]) -> "ServeConfig":
    """The command line's settings over the environment's over those of serve.yaml.

    Raises:
        ConfigError: unknown or wrong settings, or nothing to serve.
    """
    from martensite.core.config import load_yaml
    from martensite.serving import ServeConfig
    from martensite.serving.environment import from_environment, settle

    around = from_environment()
    file = config if config is not None else Path(around["config"]) if "config" in around else None
    document = load_yaml(file) if file is not None else {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file} is no mapping", "serve.yaml has keys", "e.g. models: [{name: m, bundle: models/m}]")
    words = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    settled = settle(document, around, words)
    models = settled.get("models")
    if not models:
        raise ConfigError("there is nothing to serve", "a server has a model", "martensite serve BUNDLE, or --config serve.yaml")
    for one in models if isinstance(models, list) else []:
        if isinstance(one, dict) and "name" not in one and isinstance(one.get("bundle"), str):
            one["name"] = Path(one["bundle"]).resolve().name
    return ServeConfig.parse(settled)


class _Lines(logging.Handler):
    """Lines on whatever stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def talk() -> None:
    """The server's own lines on stderr, and uvicorn's errors: its warnings any stranger can write, until the disk is full."""
    lines = _Lines()
    lines.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("martensite", logging.INFO), ("uvicorn", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if not any(isinstance(one, _Lines) for one in logger.handlers):
            logger.addHandler(lines)
