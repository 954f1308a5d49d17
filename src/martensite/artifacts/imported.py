"""An architecture by import path: somebody's function that gives the network. Whoever loads such a bundle runs that code.

So it is refused unless the function's module is on the allow-list, or the caller trusts the bundle's author (``trust_code``).
"""

import importlib
import re
from collections.abc import Collection
from typing import Any, Literal

from pydantic import Field, field_validator
from torch import nn

from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, ModelError
from martensite.models import ARCHITECTURES, Architecture

ALLOWED: frozenset[str] = frozenset({"martensite.models"})
PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class Imported(Architecture):
    """``package.module:function``, called with ``arguments`` by name; it returns the network.

    It is no member of the registry: a description from a stranger must not become an import by being parsed.
    """

    kind: Literal["import"] = "import"
    factory: str
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("factory")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not PATH.fullmatch(value):
            raise ConfigError(f"factory is {value!r}", "it is package.module:function", "give the path of a function")
        return value

    @property
    def place(self) -> str:
        """The module."""
        return self.factory.partition(":")[0]

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network. Runs the function, whose code is not this library's.

        Raises:
            ModelError: there is no such function, it fails, or it returns something else.
        """
        name = self.factory.partition(":")[2]
        try:
            made = getattr(importlib.import_module(self.place), name)(**self.arguments)
        except MartensiteError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            rule = "its function must be importable and give the network"
            raise ModelError(f"{self.factory} fails: {reason}", rule, "install the package that holds it") from None
        if not isinstance(made, nn.Module):
            raise ModelError(f"{self.factory} gives {type(made).__name__}", "it must give a torch module", "mend the function")
        return made


def described(document: dict[str, Any], allow: Collection[str], trust_code: bool) -> Architecture:
    """The architecture of a manifest.

    Args:
        document: As model.json has it.
        allow: Modules whose functions may be called, with all below them.
        trust_code: Any may.

    Raises:
        ArtifactError: an import path that isn't allowed.
        ConfigError: an architecture that isn't registered.
    """
    if document.get("kind") != "import":
        return ARCHITECTURES.build(document)
    architecture = Imported.parse(document)
    if not trust_code and not any(architecture.place == one or architecture.place.startswith(f"{one}.") for one in allow):
        raise ArtifactError(
            f"this bundle runs {architecture.factory}",
            f"code outside {', '.join(sorted(allow)) or 'an empty allow-list'} is not run",
            "read that code, and if you trust it give --trust-code (trust_code=True)",
        )
    return architecture
