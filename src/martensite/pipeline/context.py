"""What a stage has to work with: the plan, and what earlier stages left."""

from dataclasses import dataclass
from functools import cache

from martensite.artifacts import load_bundle
from martensite.core.engine import Engine
from martensite.core.events import Listener
from martensite.data import Dataset, load_data
from martensite.models import Classifier
from martensite.pipeline.config import Pipeline
from martensite.pipeline.directory import RunDirectory


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        pipeline: The plan.
        directory: Where outputs lie.
        engine: Where attacks run.
        listener: Gets the events.
    """

    pipeline: Pipeline
    directory: RunDirectory
    engine: Engine
    listener: Listener

    def data(self, split: str) -> Dataset:
        """The ``"train"``, ``"validation"`` or ``"test"`` part of the data."""
        plan = self.pipeline.data
        limit = plan.limit if split == "test" else None
        return _load(plan.source, split, plan.label, plan.scale, limit)

    def baseline(self) -> Classifier:
        """The model before hardening."""
        return load_bundle(self.directory.stage("train") / "model")

    def hardened(self) -> Classifier:
        """The model after it."""
        return load_bundle(self.directory.stage("harden") / "model")


@cache
def _load(source: str, split: str, label: str | None, scale: str | None, limit: int | None) -> Dataset:
    return load_data(source, split, label=label, scale=scale, limit=limit)
