"""Robustness in several norms at once: against the union of their balls.

``sample``: Croce and Hein 2022, "Adversarial robustness against multiple and single lp-threat models via quick fine-tuning of
robust classifiers", arXiv:2105.12508, sec. 4 (E-AT): one norm a batch, at the price of training in one norm; a norm is drawn the
more often the less robust the model is in it. The extreme norms suffice: what is robust in L1 and Linf is so in between.
``max``: Tramer and Boneh 2019, arXiv:1904.13000, sec. 4.1: the worst of all norms' adversarials for each sample.
``msd``: Maini, Wong and Kolter 2020, arXiv:1909.04068: one ascent through all norms; see `MSD`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks import PGD
from martensite.attacks.losses import ascend
from martensite.core.errors import ConfigError
from martensite.models import Classifier
from martensite.threat import Norm, ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Passes, check_attack
from martensite.training.objectives.mixture import Mixture
from martensite.training.objectives.msd import MSD, worst

WRONG, SEEN, DRAWN = "multi_norm.wrong", "multi_norm.seen", "multi_norm.drawn"


@OBJECTIVES.register
class MultiNorm(Mixture):
    """The threat model's ball, and balls of other norms around the same input.

    Args:
        mix: Share of the clean loss, in [0, 1).
        others: Further norms and their eps, e.g. ``{"l1": 10.0}`` beside Linf; a ramp scales them with the threat model's.
        mode: How the norms meet: ``"sample"``, ``"max"`` or ``"msd"``; see above.
        steps: Of PGD in each norm, or of the common ascent.

    Raises:
        ConfigError: no other norm, or, when training begins, the threat model's own among them.
    """

    kind: Literal["multi_norm"] = "multi_norm"
    others: dict[Norm, PositiveFloat] = Field(min_length=1)
    mode: Literal["sample", "max", "msd"] = "sample"
    steps: PositiveInt = 10

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """See `Objective.check`; each ball is one that PGD can search and that inputs of this size can have."""
        for ball in self._balls(threat, 1.0):
            check_attack(PGD(steps=self.steps), model, ball, x)
            ball.check_shape(x)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """Adversarials in the union of the balls."""
        balls, method = self._balls(context.threat, context.strength), PGD(steps=self.steps)
        if self.mode == "msd":
            return context.attack(MSD(balls=balls, steps=self.steps), x, y)
        if self.mode == "sample":
            return context.attack(method, x, y, threat=balls[self._draw(context, len(balls))])
        candidates = [context.attack(method, x, y, threat=ball) for ball in balls]
        loss = ascend("ce", y, context.threat.goal)
        return worst(candidates, [loss(context.scores(candidate)) for candidate in candidates])

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """See `Mixture.measure`; ``sample`` keeps account of each norm's robust error."""
        parts = super().measure(context, x, adversarial, y)
        if self.mode == "sample":
            drawn = int(context.state[DRAWN])
            context.state[WRONG][drawn] += float(parts.parts["error"]) * len(y)
            context.state[SEEN][drawn] += len(y)
        return parts

    def _draw(self, context: Context, norms: int) -> int:
        """Which ball: with the chance of its share of robust errors so far, at even chance until each has been seen."""
        wrong = context.state.setdefault(WRONG, torch.zeros(norms, dtype=torch.float64))
        seen = context.state.setdefault(SEEN, torch.zeros(norms, dtype=torch.float64))
        rates = wrong / seen if bool((seen > 0).all()) and float(wrong.sum()) > 0 else torch.ones_like(wrong)
        # The batch's first sample lends its stream.
        level = float(context.rng.fork("multi_norm").uniform((1,))[0]) * float(rates.sum())
        drawn = min(int((rates.cumsum(0) <= level).sum()), norms - 1)
        context.state[DRAWN] = torch.tensor(drawn)
        return drawn

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        balls, steps = 1 + len(self.others), self.steps
        if self.mode == "sample":
            return n * steps, n * steps
        return (n * balls * (steps + 1), n * balls * steps) if self.mode == "max" else (n * steps * (1 + balls), n * steps)

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """See `Objective.balls`."""
        return self._balls(threat, 1.0)

    def _balls(self, threat: ThreatModel, strength: float) -> tuple[ThreatModel, ...]:
        if threat.norm in self.others:
            raise ConfigError(
                f"multi_norm is given {threat.norm} among the other norms",
                "it is the threat model's own, which has its eps already",
                "leave it out",
            )
        others = [ThreatModel(**{**dict(threat), "norm": norm, "eps": strength * eps}) for norm, eps in self.others.items()]
        return (threat, *others)
