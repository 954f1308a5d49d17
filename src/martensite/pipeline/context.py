"""What a stage has to work with: the plan, and what earlier stages left."""

from collections.abc import Callable
from dataclasses import dataclass, field

from martensite.artifacts import load_bundle
from martensite.core.engine import Engine
from martensite.core.events import Listener
from martensite.data import Dataset, load_data
from martensite.models import Classifier
from martensite.pipeline.config import Pipeline
from martensite.pipeline.directory import RunDirectory

Statistics = Callable[[Classifier, Dataset], bytes | None]  # None: the data is too little


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        pipeline: The plan.
        directory: Where outputs lie.
        engine: Where attacks run.
        listener: Gets the events.
        statistics: Of held-out data as a model sees them, for whoever watches it serve; None: they aren't taken.
    """

    pipeline: Pipeline
    directory: RunDirectory
    engine: Engine
    listener: Listener
    statistics: Statistics | None = None
    _parts: dict[str, Dataset] = field(default_factory=dict, repr=False)

    def data(self, split: str) -> Dataset:
        """The ``"train"``, ``"validation"`` or ``"test"`` part of the data."""
        if split not in self._parts:
            plan = self.pipeline.data
            limit = plan.limit if split == "test" else None
            self._parts[split] = load_data(plan.source, split, label=plan.label, scale=plan.scale, limit=limit)
        return self._parts[split]

    def held_out(self) -> Dataset:
        """All of the test part, also where only some of it is attacked."""
        plan = self.pipeline.data
        return load_data(plan.source, "test", label=plan.label, scale=plan.scale)

    def baseline(self) -> Classifier:
        """The model before hardening."""
        return load_bundle(self.directory.stage("train") / "model")

    def hardened(self) -> Classifier:
        """The model after it."""
        return load_bundle(self.directory.stage("harden") / "model")
