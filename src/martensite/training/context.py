"""What an objective may do with the model in training: run it, and attack it."""

import torch
from torch import Tensor

from martensite.attacks import Attack, Oracle, undisturbed
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import Streams
from martensite.models import Classifier
from martensite.threat import ThreatModel


class Context:
    """The model, the threat and the randomness of one batch; counts every pass.

    Attributes:
        forwards: Forward passes so far, times samples.
        backwards: Backward passes so far, times samples; the update's own included.
    """

    def __init__(self, model: Classifier, threat: ThreatModel | None) -> None:
        self.model = model
        self._threat = threat
        self._rng: Streams | None = None
        self.forwards = 0
        self.backwards = 0

    def begin_batch(self, rng: Streams) -> None:
        """Take up a new batch with one random stream a sample."""
        self._rng = rng

    def logits(self, x: Tensor) -> Tensor:
        """Logits in training mode, with a gradient for the update."""
        self.forwards += len(x)
        self.backwards += len(x)
        logits: Tensor = self.model(x)
        return logits

    def attack(self, method: Attack, x: Tensor, y: Tensor) -> Tensor:
        """Adversarials (n, *d) for x, made in evaluation mode with frozen parameters and no gradient into the update.

        Raises:
            ConfigError: training has no threat model.
            ThreatError: the attack doesn't fit the model or the threat model, or doesn't stay in the ball.
        """
        if self._threat is None or self._rng is None:
            raise ConfigError("this objective attacks, and no threat model was given", remedy="give threat=ThreatModel(...)")
        if not method.bounded:
            raise ThreatError(
                f"{method.kind} searches the box for the nearest adversarial",
                "training needs adversarials inside the ball",
                "choose a bounded attack, e.g. pgd",
            )
        method.check(self.model, self._threat)
        oracle = Oracle(self.model, until_broken=False)
        oracle.begin(x, repair=self._threat.repair(x, self._threat.eps if method.ball else None))
        with undisturbed(self.model):
            adversarial = method.perturb(oracle, x, y, self._threat, self._rng.fork(method.kind)).detach()
            adversarial = oracle.admissible(adversarial, torch.arange(len(x), device=x.device))
        self.forwards += oracle.forwards
        self.backwards += oracle.backwards
        return adversarial
