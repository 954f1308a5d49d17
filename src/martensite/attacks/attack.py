"""What an attack is: a frozen configuration with one method, `perturb`."""

from collections.abc import Generator
from typing import ClassVar

from torch import Tensor

from martensite.attacks.oracle import Oracle
from martensite.attacks.verify import ONE_DRAW, Jury
from martensite.core.config import Config
from martensite.core.errors import AccessError, ThreatError
from martensite.core.registry import Registry
from martensite.core.rng import Streams
from martensite.models.access import Access, Model
from martensite.threat import Norm, ThreatModel


class Attack(Config):
    """Base of all attacks: parameters, never state.

    Attributes:
        kind: The registry's name.
        needs: The least access to the model that the attack works with.
        norms: The norms it supports.
        bounded: True: it searches the ball for any adversarial. False: it searches the box for the nearest one, so one run
            answers every eps.
        ball: False: it chooses among transformations of its own (rotations, weather), which no ball holds. Its distances are
            reported and limit nothing: success is against those transformations, not against the threat model's eps.
        stepwise: Each step asks one gradient about every sample that is left, so its questions are its steps (see `trace`).
    """

    kind: str

    needs: ClassVar[Access]
    norms: ClassVar[tuple[Norm, ...]]
    bounded: ClassVar[bool] = True
    ball: ClassVar[bool] = True
    stepwise: ClassVar[bool] = False

    @property
    def jury(self) -> Jury:
        """How often the engine asks the model before it calls a sample misclassified, on the clean input as at the end."""
        return ONE_DRAW

    @property
    def passes(self) -> tuple[int, int] | None:
        """Forward and backward passes on each sample of a search that runs its full course; None: not known beforehand."""
        return None

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Search for adversarials of one batch.

        Args:
            oracle: Counted access to the model, and the goal of the search.
            x: (n, *d) clean inputs in the box, all of them still correct.
            y: (n,) the class to leave, or to reach if ``threat.goal`` is ``"targeted"``.
            threat: The ball and box to stay in.
            rng: One random stream a sample.

        Returns:
            (n, *d) the best point found for each sample, inside the box and, if the attack is bounded by it, the ball. A
            minimum-norm attack returns the nearest adversarial it found, or x itself. Success is not claimed: the engine judges.
        """
        raise NotImplementedError(f"{type(self).__name__} must define perturb()")

    def members(self, threat: ThreatModel, classes: int) -> Generator["Attack", float, None]:
        """The attacks to run one after the other on what is left: this one, or those of an ensemble.

        Args:
            threat: What the adversary may do.
            classes: Of the model.

        Yields:
            An attack; it is sent the share of the samples it was run on that it broke.
        """
        yield self

    def check(self, model: Model, threat: ThreatModel) -> None:
        """Refuse, before any work starts, a model or norm that this attack can't work with.

        Raises:
            AccessError: the model grants less than the attack needs.
            ThreatError: the norm isn't supported, or the boxes differ.
        """
        if model.access < self.needs:
            raise AccessError(
                f"{self.kind} needs {self.needs.name.lower()} and this model grants {model.access.name.lower()}",
                "a black box has no gradient to offer" if self.needs is Access.GRADIENTS else "it answers with labels only",
                "choose a score- or decision-based attack, or give a torch model",
            )
        if threat.norm not in self.norms:
            raise ThreatError(
                f"{self.kind} does not support {threat.norm}",
                f"it supports {', '.join(self.norms)}",
                "choose another attack or norm",
            )
        if tuple(model.box) != tuple(threat.box):
            raise ThreatError(
                f"the threat model's box is {list(threat.box)} and the model's is {list(model.box)}",
                "both must mean the same inputs",
                "give ThreatModel and Classifier the same box=",
            )

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """Refuse inputs of a shape that this attack can't work with: most take any.

        Args:
            shape: Of one input.
            threat: What the adversary may do.

        Raises:
            ThreatError: the attack is on images, and these are none.
        """


ATTACKS: Registry[Attack] = Registry("attack", Attack)
