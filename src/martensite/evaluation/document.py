"""A report as a file of its own: written whole, read back, and of which version of its schema."""

from pathlib import Path
from typing import Any, Self

from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError
from martensite.core.files import write_text


class Report(Config):
    """Base of the reports that are files of their own."""

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read back what `save` wrote.

        Raises:
            ArtifactError: missing, truncated, or not such a report.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the path of a report.json") from None
        except (ValueError, ConfigError) as error:
            first = str(error).splitlines()[0]
            raise ArtifactError(f"{path} is no {cls.__name__}: {first}", "it is truncated, or another kind of file") from None


def upgraded(document: Any, name: str, current: int) -> Any:
    """A report's document as one of the current version: older ones lack what came later, and defaults say so.

    Raises:
        ConfigError: written by a later version.
    """
    version_ = document.get("schema_version", current) if isinstance(document, dict) else current
    if isinstance(version_, int) and not isinstance(version_, bool) and version_ > current:
        raise ConfigError(
            f"this {name} has schema version {version_}", f"versions 1 to {current} are known", "read it with a later martensite"
        )
    if isinstance(version_, int) and 1 <= version_ < current:
        return {**document, "schema_version": current}
    return document
