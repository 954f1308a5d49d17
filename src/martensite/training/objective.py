"""What training minimises: a frozen configuration that makes the points to train on, and measures the loss at them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from martensite.attacks import Attack
from martensite.core.config import Config
from martensite.core.errors import ThreatError
from martensite.core.registry import Registry
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context

Passes = tuple[int, int]


@dataclass(frozen=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        total: Scalar with a gradient.
        parts: Detached figures by name for the log, e.g. ``{"clean": 0.1, "adversarial": 0.9}``.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(Config):
    """Base of all objectives: parameters, never state.

    A member defines `adversarials` and `measure`, so that a wrapper (`awp`) can measure twice at the same points, and declares
    what both cost. One that defines `loss` instead can't be wrapped.
    """

    kind: str

    @property
    def replays(self) -> int:
        """Updates that the loop makes on each batch, one `loss` each."""
        return 1

    @property
    def searches(self) -> tuple[Attack, ...]:
        """The attacks that make its points: its parameter ``attack``, if it has one."""
        method = getattr(self, "attack", None)
        return (method,) if isinstance(method, Attack) else ()

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """Refuse, before anything trains, what this objective can't train with; here, what its attacks can't work with.

        Args:
            model: Where training starts from.
            threat: The adversary at its full strength.
            x: (n, *d) a few training inputs.
            surrogates: Models held beside the one in training.

        Raises:
            ThreatError: an attack that isn't bounded, or that the norm or the inputs don't suit.
            AccessError: an attack that needs more than the model grants.
            ConfigError: parameters that don't go with the threat model, surrogates missing.
            ModelError: a model, or a surrogate, that it can't work with.
        """
        for method in self.searches:
            check_attack(method, model, threat, x)

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """The loss of one batch.

        Args:
            context: The model in training, and the only way to make adversarials (``context.attack``).
            x: (n, *d) clean inputs in the box.
            y: (n,) labels.
        """
        return self.measure(context, x, self.adversarials(context, x, y), y)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The points (m, *d) to train on beside, or instead of, x; arguments as in `loss`."""
        raise NotImplementedError(f"{type(self).__name__} must define adversarials()")

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The loss at the points that `adversarials` made."""
        raise NotImplementedError(f"{type(self).__name__} must define measure()")

    def search_passes(self, n: int) -> Passes | None:
        """Forward and backward passes, times samples, of `adversarials` for n samples; None: not known beforehand.

        At the full strength of the attack: a ramp takes fewer steps, a guard's escalation more.
        """
        return None

    def update_passes(self, n: int) -> Passes | None:
        """Those of `measure` and of the update's backward pass."""
        return None

    def bound_passes(self, n: int) -> Passes:
        """What propagating bounds through the layers costs, in passes; none for most."""
        return 0, 0

    def passes(self, n: int) -> Passes | None:
        """Those of one whole update on n samples."""
        search, update, bound = self.search_passes(n), self.update_passes(n), self.bound_passes(n)
        if search is None or update is None:
            return None
        return search[0] + update[0] + bound[0], search[1] + update[1] + bound[1]

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """The balls whose union holds every point it trains on; none, where the points are noise that no ball holds."""
        return (threat,)


def check_attack(method: Attack, model: Classifier, threat: ThreatModel, x: Tensor) -> None:
    """Refuse an attack that can't make adversarials for training; arguments and errors as in `Objective.check`."""
    if not (method.bounded and method.ball):
        raise ThreatError(
            f"{method.kind} does not search the ball",
            "training needs adversarials inside the ball",
            "choose a bounded attack, e.g. pgd",
        )
    method.check(model, threat)
    method.check_shape(tuple(x.shape[1:]), threat)


def times(n: int, each: Passes | None) -> Passes | None:
    """n times so many passes."""
    return None if each is None else (n * each[0], n * each[1])


OBJECTIVES: Registry[Objective] = Registry("objective", Objective)
