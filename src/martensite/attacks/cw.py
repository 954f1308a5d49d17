"""CW: Adam on distance plus c times the margin, with a search for the constant.

Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sec. VI-A. For Linf (sec. VI-C)
see `cw_linf`.

Of the paper's three ways to stay in the box (sec. V-B) this takes the first, projection, and anneals the step size. The paper
prefers a change of variables to tanh, which is flat at the box's faces: black and white features need hundreds of steps to get
away, or never do. On small images it took tanh 5,700 passes an image to come as near as projection does in 260.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.cw_linf import Settings, tighten
from martensite.attacks.descent import Adam, Constant, Patience, anneal, hinge
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

STEPS, LR, C = 1000, 0.01, 1e-3  # defaults for L2
LAST = 0.01  # share of the learning rate that is left at the end of a descent
STEPS_LINF, ACROSS_LINF, C_LINF = 200, 4.0, 1.0  # and for Linf; the second: how many tau far all steps lead, were they full ones


@ATTACKS.register
class CW(Attack):
    """Carlini and Wagner.

    Args:
        steps: Gradient steps a search step; None: 1,000 for L2 and 200 for Linf. The paper takes 10,000.
        search_steps: Constants c (L2) or thresholds tau (Linf) that are tried for each sample.
        lr: First learning rate of Adam, in widths of the box for L2 and in thresholds for Linf; None: 0.01 for L2 and 4 / steps
            for Linf.
        c: First constant, in squared widths of the box (Linf: widths) a logit; None: 0.001 for L2 and 1 for Linf.
        confidence: By how much the margin has to be won.
        abort_early: A sample whose loss fell by less than 0.01 % in a tenth of the steps sits out the rest of the search step.
        search: Forward passes of a search along the line to the clean input at the end; 0: none, as in the paper.
    """

    kind: Literal["cw"] = "cw"
    steps: PositiveInt | None = None
    search_steps: PositiveInt = 9
    lr: PositiveFloat | None = None
    c: PositiveFloat | None = None
    confidence: NonNegativeFloat = 0.0
    abort_early: bool = True
    search: NonNegativeInt = 6

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "linf")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """min |delta|_2^2 + c f(x + delta), x + delta in the box."""
        nearest = Nearest(oracle, x, y, threat, self.confidence)
        if threat.norm == "linf":
            steps = self.steps or STEPS_LINF
            patience = steps if self.abort_early else 0
            settings = Settings(self.c or C_LINF, self.search_steps, steps, self.lr or ACROSS_LINF / steps, patience)
            tighten(oracle, nearest, x, y, threat, settings)
        else:
            constant = Constant(self.c or C, nearest.distance)
            for _ in range(self.search_steps):
                constant.update(self._descend(oracle, nearest, x, y, threat, constant.c))
        nearest.approach(self.search)
        return nearest.point

    def _descend(self, oracle: Oracle, nearest: Nearest, x: Tensor, y: Tensor, threat: ThreatModel, c: Tensor) -> Tensor:
        """One search step. Returns (n,) bool: an adversarial was met."""
        low, width = threat.box[0], threat.box[1] - threat.box[0]
        rows, found = torch.arange(len(x), device=x.device), torch.zeros_like(c, dtype=torch.bool)
        steps, lr = self.steps or STEPS, self.lr or LR
        patience = Patience(steps if self.abort_early else 0, c)
        clean = unit = (x - low) / width
        adam = Adam(unit)
        for step in range(steps):
            loss = hinge(y, c, threat.goal, self.confidence)
            point = (unit * width).add_(low).clamp_(*threat.box)
            logits, gradient = oracle.gradient(point, loss, rows)
            found[rows] |= nearest.note(point, logits, rows)
            delta = unit - clean
            stay = patience.leave(step, loss(logits) + delta.square().flatten(1).sum(1))
            if stay is not None:
                rows, clean, y, c = rows[stay], clean[stay], y[stay], c[stay]
                unit, delta, gradient = unit[stay], delta[stay], gradient[stay]
                adam.keep(stay)
                if not len(rows):
                    break
            gradient = gradient.mul_(width).add_(delta, alpha=2.0)
            unit = torch.sub(unit, adam.direction(gradient), alpha=lr * anneal(step, steps, LAST)).clamp_(0.0, 1.0)
        return found
