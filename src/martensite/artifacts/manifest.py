"""model.json: everything about a model that isn't a weight."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import PositiveInt, model_validator

from martensite.artifacts.weights import read_file, refusal
from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError
from martensite.threat import ThreatModel

MANIFEST = "model.json"
LARGEST = 16 * 2**20  # bytes; a real one has a few thousand


class Manifest(Config):
    """model.json: how to rebuild and use the model.

    Attributes:
        architecture: A registered architecture's configuration, or an import path (``{"kind": "import", "factory": ...}``).
        shape: Shape of one input; empty if not known.
        classes: K.
        class_names: One a class; empty if not known.
        box: Lowest and highest valid input value.
        mean: Subtracted inside the model; None: no normalisation.
        std: Divided by inside the model.
        dtype: Of the weights.
        threat: What the model was hardened against; None: nothing.
        defences: Names of what stands around the model when it serves; a version that doesn't know one refuses the bundle.
        defence: Their configuration, from which they are rebuilt; None: nothing stands around it.
        digest: Of the model: weights, input conventions, and the defences with what they learnt.
        files: SHA-256 of every other file that is loaded.
    """

    format: Literal["martensite-bundle-1"] = "martensite-bundle-1"
    architecture: dict[str, Any]
    shape: tuple[PositiveInt, ...]
    classes: PositiveInt
    class_names: tuple[str, ...] = ()
    box: tuple[float, float]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    dtype: Literal["float16", "bfloat16", "float32", "float64"]
    threat: ThreatModel | None
    defences: tuple[str, ...] = ()
    defence: dict[str, Any] | None = None
    digest: str
    files: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            named = len(self.class_names)
            raise ConfigError(
                f"{named} class names were given for {self.classes} classes", "a class has one name", "give all or none"
            )
        return self


def read_manifest(path: str | Path) -> Manifest:
    """model.json of a bundle, checked.

    Raises:
        ArtifactError: missing, not JSON, or not such a manifest.
    """
    path = Path(path)
    if path.is_file():
        raise ArtifactError(f"{path} is a file", "a bundle is a folder", refusal(path))
    content = read_file(path / MANIFEST, "give the folder that save_bundle wrote", LARGEST)
    try:
        return Manifest.model_validate_json(content)
    except (ValueError, MartensiteError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"{path / MANIFEST} is no manifest: {reason[:300]}", "it is truncated or altered", "fetch the bundle again"
        ) from None
