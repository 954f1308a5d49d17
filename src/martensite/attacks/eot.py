"""EOT: expectation over the draws of a model that answers at random.

Athalye, Engstrom, Ilyas and Kwok 2018, "Synthesizing robust adversarial examples", arXiv:1707.07397, sec. 2.1 (eq. 1); against
randomised defences Athalye, Carlini and Wagner 2018, arXiv:1802.00420, sec. 4.2.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import Loss, margin
from martensite.attacks.oracle import Oracle
from martensite.attacks.pgd import PGD
from martensite.attacks.verify import Jury
from martensite.core.errors import ThreatError
from martensite.core.registry import member_of
from martensite.core.rng import Streams
from martensite.models.access import Access, Model
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class EOT(Attack):
    """Another attack, with each of its questions asked several times.

    The random draws are the model's own: a run repeats itself bit by bit only if they do. On a model that answers the same each
    time it is the inner attack, at ``samples`` times the cost.

    Args:
        attack: The bounded attack to run; access and norms are as it needs them.
        samples: Draws for each of its questions.
        judge_samples: Fresh draws over which the engine judges, on the clean input as on the adversarial.
        share: Of those that must be misclassified (or, for a targeted goal, at the target) for a success.
    """

    kind: Literal["eot"] = "eot"
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD()
    samples: PositiveInt = 20
    judge_samples: PositiveInt = 20
    share: float = Field(default=0.5, gt=0.0, le=1.0)

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    @property
    def ball(self) -> bool:  # type: ignore[override]  # a class's elsewhere, and here that of the attack inside
        """See `Attack.ball`."""
        return self.attack.ball

    @property
    def jury(self) -> Jury:
        """See `Attack.jury`."""
        return Jury(self.judge_samples, self.share)

    def check(self, model: Model, threat: ThreatModel) -> None:
        """What the inner attack checks, and that it is bounded: a least distance means nothing where success is a chance."""
        if not self.attack.bounded:
            raise ThreatError(
                f"eot was given {self.attack.kind}", "it averages bounded attacks", "e.g. eot with the attack pgd or apgd"
            )
        self.attack.check(model, threat)

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """What the inner attack refuses."""
        self.attack.check_shape(shape, threat)

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """The inner attack, on the expectation."""
        return self.attack.perturb(Expectation(oracle, self.samples, y, threat.goal), x, y, threat, rng)


class Expectation(Oracle):
    """An oracle that asks another one several times: gradients are means over the draws, logits those of the worst draw.

    The worst draw for the attacker, so that a search ends early only where every draw is fooled, never by one draw's luck. All
    else (counts, places, the best points so far) is the other oracle's.
    """

    def __init__(self, base: Oracle, samples: int, y: Tensor, goal: str) -> None:
        self.__dict__.update(_base=base, _samples=samples, _y=y, _targeted=goal == "targeted")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_base"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._base, name, value)

    @property
    def spare(self) -> int:
        """None: models that answer at random would draw otherwise if they were asked ahead."""
        return 0

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.logits`."""
        return self._worst([self._base.logits(x, rows) for _ in range(self._samples)], rows)

    def labels(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.labels`."""
        return self.ballot(x, rows).argmax(1)

    def ballot(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.ballot`."""
        return self._worst([self._base.ballot(x, rows) for _ in range(self._samples)], rows)

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        rows: Tensor | None = None,
        through: Callable[[Tensor], Tensor] | None = None,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Oracle.gradient`."""
        answers, total = [], torch.zeros_like(x)
        for _ in range(self._samples):
            logits, gradient = self._base.gradient(x, loss, rows, through, view)
            answers.append(logits)
            total += gradient
        return self._worst(answers, rows), total / self._samples

    def jacobian(self, x: Tensor, functions: Loss, rows: Tensor | None = None) -> tuple[Tensor, Iterator[Tensor]]:
        """See `Oracle.jacobian`."""
        answers, gradients = zip(*[self._base.jacobian(x, functions, rows) for _ in range(self._samples)], strict=True)
        return self._worst(list(answers), rows), (sum(draws) / self._samples for draws in zip(*gradients, strict=True))

    def _worst(self, answers: list[Tensor], rows: Tensor | None) -> Tensor:
        """(n, K) for each point the draw whose margin favours the attacker least."""
        places = self.about(rows)
        y = self._y if places is None else self._y[places]
        y = y.repeat(len(answers[0]) // len(y))  # whole rounds of the samples
        gains = torch.stack([margin(logits, y) for logits in answers])
        worst = gains.argmax(0) if self._targeted else gains.argmin(0)
        return torch.stack(answers)[worst, torch.arange(len(y), device=y.device)]
