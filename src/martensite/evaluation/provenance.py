"""On what a figure was measured: which samples, and with which versions."""

import platform
from importlib.metadata import version

import torch

from martensite.core.config import Config


class DataRecord(Config):
    """Which samples."""

    name: str
    split: str
    n: int
    classes: int
    shape: tuple[int, ...]
    digest: str


class Environment(Config):
    """Versions that a figure may depend on."""

    martensite: str
    torch: str
    numpy: str
    python: str
    platform: str

    @classmethod
    def here(cls) -> "Environment":
        """Of this process."""
        return cls(
            martensite=version("martensite"),
            torch=torch.__version__,
            numpy=version("numpy"),
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
        )
