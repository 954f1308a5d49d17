"""What a training run was given, and the key by which a checkpoint knows it."""

from dataclasses import dataclass

from martensite.core.config import canonical_json
from martensite.core.files import sha256
from martensite.data.dataset import Dataset
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel
from martensite.training.objective import Objective
from martensite.training.settings import TrainingSettings


@dataclass(frozen=True, eq=False)
class Plan:
    """One run: data, objective, settings, adversary, seed.

    Attributes:
        data: Training data.
        validation: Held-out data.
        objective: What is minimised.
        settings: How.
        threat: The adversary, if there is one.
        seed: Of all randomness.
        stage: Name in events and random streams.
        surrogates: Models held beside the one in training.
    """

    data: Dataset
    validation: Dataset
    objective: Objective
    settings: TrainingSettings
    threat: ThreatModel | None
    seed: int
    stage: str
    surrogates: tuple[Classifier, ...]

    @property
    def batches(self) -> int:
        """Batches an epoch."""
        return -(-len(self.data) // self.settings.batch_size)

    @property
    def updates(self) -> int:
        """Batches in all."""
        return self.settings.epochs * self.batches

    def key(self, model: Classifier) -> str:
        """What a checkpoint of this run belongs to, if it starts from this model."""
        parts = {
            "model": model_digest(model),
            # What the digest leaves out: layers without weights, and what is frozen.
            "layers": str(model.net),
            "trainable": [name for name, parameter in model.net.named_parameters() if parameter.requires_grad],
            "data": self.data.digest,
            "validation": self.validation.digest,
            "stage": self.stage,
            "seed": self.seed,
            "objective": self.objective.model_dump(mode="json"),
            "settings": self.settings.identity(),
            "threat": None if self.threat is None else self.threat.model_dump(mode="json"),
            "surrogates": [model_digest(surrogate) for surrogate in self.surrogates],
        }
        return sha256(canonical_json(parts).encode())
