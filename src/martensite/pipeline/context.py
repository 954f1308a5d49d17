"""What a stage has to work with: the plan, and what earlier stages left."""

from dataclasses import dataclass, field

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
    _parts: dict[str, Dataset] = field(default_factory=dict, repr=False)

    def data(self, split: str) -> Dataset:
        """The ``"train"``, ``"validation"`` or ``"test"`` part of the data."""
        if split not in self._parts:
            plan = self.pipeline.data
            limit = plan.limit if split == "test" else None
            self._parts[split] = load_data(plan.source, split, label=plan.label, scale=plan.scale, limit=limit)
        return self._parts[split]

    def baseline(self) -> Classifier:
        """The model before hardening."""
        return load_bundle(self.directory.stage("train") / "model")

    def hardened(self) -> Classifier:
        """The model after it."""
        return load_bundle(self.directory.stage("harden") / "model")
