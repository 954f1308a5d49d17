"""A pipeline as YAML: data, model, threat model, and what each stage does."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.certification import CERTIFIERS, Certifier, Smoothing
from martensite.core.config import Config, canonical_json
from martensite.core.files import sha256
from martensite.core.registry import member_of
from martensite.evaluation import Suite, load_suite
from martensite.gates import Thresholds
from martensite.models import ARCHITECTURES, Architecture
from martensite.threat import ThreatModel
from martensite.training import OBJECTIVES, Objective, TrainingSettings
from martensite.training.objectives import PGDAT


class DataPlan(Config):
    """Where the data comes from.

    Args:
        source: As in ``load_data``: ``"digits"``, ``"mnist:DIR"``, ``"FILE.npz"``, ``"FILE.csv"``, an image folder.
        label: Label column of a CSV.
        scale: ``"minmax"``: map each column of a CSV to [0, 1].
        limit: Most test samples to evaluate on; None: all.
    """

    source: str
    label: str | None = None
    scale: str | None = None
    limit: PositiveInt | None = None


class HardenPlan(Config):
    """How the baseline is hardened."""

    objective: Annotated[Objective, member_of(OBJECTIVES)] = PGDAT()
    settings: TrainingSettings = TrainingSettings()


class CertifyPlan(Config):
    """How many test samples are certified, and how."""

    method: Annotated[Certifier, member_of(CERTIFIERS)] = Smoothing(sigma=0.25, n=10_000)
    samples: PositiveInt = 100


def _as_suite(given: Any) -> Any:
    # Read now, not when the stage comes: so its attacks belong to the plan, and a mistake in them shows before any training.
    return load_suite(given) if isinstance(given, str | Path) else given


class Pipeline(Config):
    """A whole run.

    Args:
        name: What the run is called.
        seed: Of everything random in it.
        data: See `DataPlan`.
        threat: What the model is attacked with, hardened against and judged by.
        model: The architecture.
        mean: Normalisation inside the model, one value or one a channel.
        std: Likewise.
        train: Settings of the baseline's standard training.
        attack: Attacks shown on the baseline.
        harden: See `HardenPlan`.
        suite: Suite that both models are evaluated with: a shipped name, a YAML file, or a mapping.
        certify: See `CertifyPlan`.
        gate: Thresholds of the verdict.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: NonNegativeInt = 0
    data: DataPlan
    threat: ThreatModel
    model: Annotated[Architecture, member_of(ARCHITECTURES)]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    train: TrainingSettings = TrainingSettings()
    attack: tuple[Annotated[Attack, member_of(ATTACKS)], ...] = (PGD(),)
    harden: HardenPlan = HardenPlan()
    suite: Annotated[Suite, BeforeValidator(_as_suite)] = load_suite("standard")
    certify: CertifyPlan = CertifyPlan()
    gate: Thresholds = Thresholds()

    @property
    def digest(self) -> str:
        """Names the run: two runs of one digest give the same results."""
        return sha256(canonical_json(self.model_dump(mode="json")).encode())


def example(name: str = "digits") -> Pipeline:
    """A pipeline that is shipped with the package."""
    return Pipeline.from_yaml(files(__package__).joinpath("examples", f"{name}.yaml").read_text(encoding="utf-8"))


def load_pipeline(path: Path) -> Pipeline:
    """A pipeline from a YAML file."""
    return Pipeline.from_yaml(path)
