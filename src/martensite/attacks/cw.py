"""CW: Adam on distance plus c times the margin, with a search for the constant.

Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sec. VI-A. For Linf (sec. VI-C)
see `cw_linf`.

Where the paper's constants fit one data set, these follow the problem. Of its three ways to stay in the box (sec. V-B) this takes
the first, projection: the change of variables to tanh that the paper prefers is flat at the box's faces, and black and white
features need hundreds of steps to get away, or never do (on small images it took tanh 5,700 passes an image to come as near as
projection does in 260). The first constant and step size are the linearised model's. And a descent goes on from the nearest
adversarial so far, not from the clean input. On a PGD-trained MNIST network, in five search steps of 200, 1 % of the images were
left and the median was 2.78 before the last two, none and 2.2 after.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.cw_linf import LEAST, Settings, tighten
from martensite.attacks.descent import LARGEST, Adam, Constant, Patience, anneal, hinge
from martensite.attacks.linear import length
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns

STEPS = 1000  # default for L2
FIRST, FLAT = 2.0, 1e-3  # the first constant, in those of the linearised model's optimum, and where that has no slope
# The learning rate, in Linf distances of the linearised boundary, and how many of them all steps lead at least, were they full
# ones; its greatest value, in widths of the box.
LR, ACROSS, LARGEST_LR = 0.3, 4.0, 0.05
LAST = 0.01  # share of the learning rate that is left at the end of a descent
STEPS_LINF, C_LINF = 200, 1.0  # defaults for Linf


@ATTACKS.register
class CW(Attack):
    """Carlini and Wagner.

    Args:
        steps: Gradient steps a search step; None: 1,000 for L2 and 200 for Linf. The paper takes 10,000.
        search_steps: Constants c (L2) or thresholds tau (Linf) that are tried for each sample.
        lr: First learning rate of Adam, in widths of the box for L2 and in thresholds for Linf; None: see above for L2, and 4 /
            steps for Linf.
        c: First constant, in squared widths of the box (Linf: widths) a logit; None: see above for L2, and 1 for Linf.
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
    search: NonNegativeInt = 4

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "linf")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """min |delta|_2^2 + c f(x + delta), x + delta in the box."""
        nearest = Nearest(oracle, x, y, threat, self.confidence)
        if threat.norm == "linf":
            steps = self.steps or STEPS_LINF
            patience = steps if self.abort_early else 0
            settings = Settings(self.c or C_LINF, self.search_steps, steps, self.lr or ACROSS / steps, patience)
            tighten(oracle, nearest, x, y, threat, settings)
        else:
            c, lr = self._scale(oracle, x, y, threat)
            constant = Constant(c)
            for _ in range(self.search_steps):
                constant.update(self._descend(oracle, nearest, x, y, threat, constant.c, lr))
        nearest.approach(self.search)
        return nearest.point

    def _scale(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """The first constants and the learning rates (n,), where they aren't given.

        At c = 2 f / |g|_2^2 the minimum of |delta|_2^2 + c (f + g . delta)^+ reaches the boundary.
        """
        c, lr = x.new_full((len(x),), self.c or 0.0), x.new_full((len(x),), self.lr or 0.0)
        if self.c and self.lr:
            return c, lr
        loss, width, tiny = (
            hinge(y, torch.ones_like(c), threat.goal, self.confidence),
            threat.box[1] - threat.box[0],
            torch.finfo(x.dtype).tiny,
        )
        logits, gradient = oracle.gradient(x, loss)
        gap, slope = loss(logits).to(x.dtype), width * length(gradient, "l2")
        if not self.c:
            c = FIRST * 2.0 * gap / slope.square().clamp_min(tiny)
            c = torch.where((slope > 0) & (c > 0), c, FLAT).clamp_max(LARGEST)
        if not self.lr:
            lr = (max(LR, ACROSS / (self.steps or STEPS)) * gap / (width * length(gradient, "l1")).clamp_min(tiny)).clamp(
                LEAST, LARGEST_LR
            )
        return c, lr

    def _descend(
        self, oracle: Oracle, nearest: Nearest, x: Tensor, y: Tensor, threat: ThreatModel, c: Tensor, lr: Tensor
    ) -> Tensor:
        """One search step. Returns (n,) bool: an adversarial was met in its second half, or where it was broken off."""
        low, width = threat.box[0], threat.box[1] - threat.box[0]
        rows, found = torch.arange(len(x), device=x.device), torch.zeros_like(c, dtype=torch.bool)
        steps, rate = self.steps or STEPS, columns(lr, x)
        patience = Patience(steps if self.abort_early else 0, c)
        clean, unit = (x - low) / width, (nearest.point - low) / width
        adam = Adam(unit)
        for step in range(steps):
            loss = hinge(y, c, threat.goal, self.confidence)
            point = (unit * width).add_(low).clamp_(*threat.box)
            logits, gradient = oracle.gradient(point, loss, rows)
            adversarial = nearest.note(point, logits, rows)
            if 2 * step >= steps - 1:
                found[rows] |= adversarial
            delta = unit - clean
            stay = patience.leave(step, loss(logits) + delta.square().flatten(1).sum(1))
            if stay is not None:
                found[rows[~stay]] |= adversarial[~stay]
                rows, clean, y, c = rows[stay], clean[stay], y[stay], c[stay]
                unit, delta, gradient, rate = unit[stay], delta[stay], gradient[stay], rate[stay]
                adam.keep(stay)
                if not len(rows):
                    break
            gradient = gradient.mul_(width).add_(delta, alpha=2.0)
            step_size = rate * anneal(step, steps, LAST)
            unit = torch.addcmul(unit, adam.direction(gradient), step_size, value=-1.0).clamp_(0.0, 1.0)
        return found
