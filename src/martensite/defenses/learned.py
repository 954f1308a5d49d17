"""A learned detector: a small network that tells clean inputs from adversarial ones.

Metzen et al. 2017, "On detecting adversarial perturbations", arXiv:1702.04267; Gong, Wang and Ku 2017, "Adversarial and clean
data are not twins", arXiv:1704.04960. It knows the attack it was trained on; with its score in the loss it is evaded (Carlini
and Wagner 2017, arXiv:1705.07263, sec. 4.3).
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from martensite.attacks import ATTACKS, PGD, Attack, attack
from martensite.core.registry import member_of
from martensite.core.rng import derive
from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.look import Look
from martensite.models import Classifier
from martensite.threat import Norm, ThreatModel


@DETECTORS.register
class Learned(Detector):
    """One hidden layer on the input's values, trained on clean samples and on adversarials of the bare model.

    Args:
        eps: How far the adversarials go, in input units.
        norm: In which.
        attack: What makes them.
        hidden: Width of the layer.
        epochs: Passes over both halves.
        lr: Adam's learning rate.
    """

    kind: Literal["learned"] = "learned"
    eps: PositiveFloat
    norm: Norm = "linf"
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)
    hidden: PositiveInt = 64
    epochs: PositiveInt = 10
    lr: PositiveFloat = 1e-3

    reads: ClassVar = "inputs"
    learns: ClassVar = True

    def learn(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator) -> State:
        """The network's weights."""
        seed = int(torch.randint(2**31, (), generator=rng))
        threat = ThreatModel(norm=self.norm, eps=self.eps, box=model.box)
        made = attack(self.attack, model, x.cpu(), y.cpu(), threat, seed=derive(seed, "learned"))
        both = torch.cat([x.cpu().flatten(1), made.adversarial.to(x.dtype).flatten(1)]).float()
        target = torch.cat([torch.zeros(len(x)), torch.ones(len(x))])
        low, high = model.box
        both = (both - low) / (high - low) - 0.5
        weights = {
            "first": torch.randn(self.hidden, both.shape[1], generator=rng) / both.shape[1] ** 0.5,
            "shift": torch.zeros(self.hidden),
            "last": torch.randn(self.hidden, generator=rng) / self.hidden**0.5,
            "bias": torch.zeros(()),
        }
        with torch.enable_grad():
            leaves = {name: value.requires_grad_(True) for name, value in weights.items()}
            optimiser = torch.optim.Adam(leaves.values(), lr=self.lr)
            for _ in range(self.epochs):
                for rows in torch.split(torch.randperm(len(both), generator=rng), 128):
                    loss = binary_cross_entropy_with_logits(_network(leaves, both[rows]), target[rows])
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
        return {name: value.detach() for name, value in leaves.items()}

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        low, high = look.model.box
        return _network(state, (look.x.flatten(1).float() - low) / (high - low) - 0.5)


def _network(weights: State, x: Tensor) -> Tensor:
    return (x @ weights["first"].T + weights["shift"]).relu() @ weights["last"] + weights["bias"]
