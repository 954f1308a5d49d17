"""Accuracy on held-out data: of the whole validation split, and of the guards' small probe."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from martensite.attacks import PGD, Oracle, attack
from martensite.attacks.tuning import BATCH
from martensite.core.errors import ModelError
from martensite.core.rng import derive, streams
from martensite.data.dataset import Dataset
from martensite.data.split import representative_order
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel
from martensite.training.guards import Figures, Guards
from martensite.training.ledger import Ledger, Passes
from martensite.training.settings import TrainingSettings

NORMAL_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution


def needed_samples(margin: float) -> int:
    """Samples for which the 95 % interval of any accuracy is at most ``margin`` to either side (normal approximation at 1/2)."""
    return math.ceil((NORMAL_95 / (2 * margin)) ** 2)


def measure(
    model: Classifier, data: Dataset, settings: TrainingSettings, threat: ThreatModel | None, seed: int, ledger: Ledger
) -> tuple[float, float | None]:
    """Clean and robust accuracy on the validation data, with the same attack draws every time; robust: None without a threat."""
    with ledger.timed("validation", model.device) as passes:
        if threat is None:
            return clean_accuracy(model, data.x, data.y, passes), None
        result = attack(settings.validation_attack, model, data.x, data.y, threat, seed=derive(seed, "validation"))
        passes.forwards += result.forwards
        passes.backwards += result.backwards
        return float(result.correct.float().mean()), float(result.robust.float().mean())


def clean_accuracy(model: Classifier, x: Tensor, y: Tensor, passes: Passes) -> float:
    """Clean accuracy, in evaluation mode; flags come back as they were."""
    oracle = Oracle(model)
    with undisturbed(model):
        right = [
            (oracle.logits(part.to(model.device)).argmax(1).cpu() == label)
            for part, label in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True)
        ]
    passes.forwards += oracle.forwards
    return float(torch.cat(right).float().mean())


class Probe:
    """A fixed part of the validation data on which guards look at the model.

    Args:
        data: The validation data.
        guards: How many samples, and the attack.
        threat: The adversary; None: clean accuracy only.
        seed: Of the choice of samples and the attack's draws.
    """

    def __init__(self, data: Dataset, guards: Guards, threat: ThreatModel | None, seed: int) -> None:
        rows = representative_order(data.y, derive(seed, "probe"))[: guards.samples]
        self.x, self.y = data.x[rows], data.y[rows]
        self._attack, self._seed = guards.attack, derive(seed, "probe/attack")
        self._threat = threat if threat is not None and threat.norm in (set(guards.attack.norms) & set(PGD.norms)) else None
        self._chance = float(torch.bincount(self.y).max() / len(self.y))

    def look(self, model: Classifier, ledger: Ledger, update: int, loss: float) -> Figures:
        """The figures of the model as it is."""
        with ledger.timed("guards", model.device) as passes:
            try:
                clean, single, robust = self._accuracies(model, passes)
            except ModelError:  # NaN or infinite logits
                return self.lost(update)
        return Figures(update, loss, True, clean, single, robust, self._chance)

    def lost(self, update: int) -> Figures:
        """The figures of a model whose loss or logits are no numbers."""
        return Figures(update, 0.0, False, 0.0, None, None, self._chance)

    def _accuracies(self, model: Classifier, passes: Passes) -> tuple[float, float | None, float | None]:
        if self._threat is None:
            return clean_accuracy(model, self.x, self.y, passes), None, None
        single = self._single_step(model, self._threat, passes)
        result = attack(self._attack, model, self.x, self.y, self._threat, seed=self._seed)
        passes.forwards += result.forwards
        passes.backwards += result.backwards
        return float(result.correct.float().mean()), single, float(result.robust.float().mean())

    def _single_step(self, model: Classifier, threat: ThreatModel, passes: Passes) -> float:
        """Accuracy after one step of eps on every sample, those that were misclassified before it as well.

        A model that reads the label off the perturbation is better there than on clean inputs, which `attack` never is: it leaves
        alone what is wrong already.
        """
        step = PGD(steps=1, step_size=threat.eps, random_start=False)
        oracle, right = Oracle(model, until_broken=False), 0
        with undisturbed(model):
            for rows in torch.split(torch.arange(len(self.x)), BATCH):
                x, y = self.x[rows].to(model.device), self.y[rows].to(model.device)
                repair = threat.repair(x, threat.eps)
                if repair is not None:
                    oracle.begin(x, repair=repair)
                made = step.perturb(oracle, x, y, threat, streams(self._seed, "single", rows).to(model.device))
                made = made if repair is None else repair(made, x)
                right += int((oracle.logits(made).argmax(1) == y).sum())
        passes.forwards += oracle.forwards
        passes.backwards += oracle.backwards
        return right / len(self.x)


@contextmanager
def swapped(net: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Other weights in the network inside the block, its own after it."""
    own = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(tensors)
    try:
        yield
    finally:
        net.load_state_dict(own)
