"""Iterated FGSM with the refinements that make adversarials transfer to other models, each a parameter of one loop.

mi_fgsm    momentum                              Dong et al. 2018, arXiv:1710.06081, algorithm 1
ni_fgsm    gradient at Nesterov's look-ahead     Lin et al. 2020, arXiv:1908.06281, eq. 6 and 7
si_fgsm    mean over copies scaled by 1 / 2**i   ibid., eq. 8
di_fgsm    randomly shrunk and shifted inputs    Xie et al. 2019, arXiv:1803.06978, sec. 3.3
ti_fgsm    gradients smoothed by a kernel        Dong et al. 2019, arXiv:1904.02884, eq. 7 and 9
vmi_fgsm   variance tuning                       Wang and He 2021, arXiv:2103.15571, algorithm 1
vni_fgsm   variance tuning with the look-ahead   ibid.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


class TransferFGSM(Attack):
    """The loop that all of them share.

    Args:
        steps: Steps of eps / steps each.
        decay: Of the momentum; 0: none.
        look_ahead: Take the gradient where the momentum would lead.
        scales: Copies of the input, scaled by 1, 1/2, 1/4, ...; 1: the input alone.
        diversity: Chance that an image is shrunk and shifted before a pass.
        shrink: Least scale of that.
        kernel: Side of the Gaussian kernel over gradients; 1: none.
        neighbours: Points around the present one that the gradient's variance is measured at; 0: none.
        reach: How far they lie, in multiples of eps.
        loss: What to climb.
    """

    steps: PositiveInt = 10
    decay: NonNegativeFloat = 1.0
    look_ahead: bool = False
    scales: PositiveInt = 1
    diversity: float = Field(default=0.0, ge=0.0, le=1.0)
    shrink: float = Field(default=0.9, gt=0.0, le=1.0)
    kernel: PositiveInt = 1
    neighbours: NonNegativeInt = 0
    reach: PositiveFloat = 1.5
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """Images (C, H, W) only, where inputs are resized or gradients smoothed."""
        if len(shape) != 3 and (self.diversity > 0 or self.kernel > 1):
            raise ThreatError(
                f"{self.kind} was given inputs of shape {shape}", "diversity and kernel are about images (C, H, W)",
                "set diversity=0 and kernel=1",
            )  # fmt: skip

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """g <- decay * g + direction / mean |direction|; x <- project(x + eps / steps * steepest(g))."""
        self.check_shape(tuple(x.shape[1:]), threat)
        search, step = Survivors(oracle, x, y, threat, rng), threat.eps / self.steps
        point, momentum, variance = x, torch.zeros_like(x), torch.zeros_like(x)
        for _ in range(self.steps):
            ahead = point + step * self.decay * momentum if self.look_ahead else point
            logits, gradient = self._gradient(oracle, search, ahead, threat)
            if not self.look_ahead:
                point, momentum, variance, gradient = search.drop_broken(logits, point, momentum, variance, gradient)
            if not len(search):
                break
            direction = self._smooth(gradient + variance)
            variance = self._variance(oracle, search, point, gradient, threat)
            size = direction.flatten(1).abs().mean(1).clamp_min(torch.finfo(x.dtype).tiny)
            momentum = self.decay * momentum + direction / size.view(-1, *[1] * (x.dim() - 1))
            point = search.project(point + step * threat.steepest_step(momentum, point))
        search.settle(point)
        return search.found

    def _gradient(self, oracle: Oracle, search: Survivors, point: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Logits at the point itself, and the mean gradient over scaled and diversified copies."""
        loss = ascend(self.loss, search.y, threat.goal)
        total, first = torch.zeros_like(point), None
        for power in range(self.scales):
            grid = self._grid(search.rng, point)

            def view(z: Tensor, power: int = power, grid: Tensor | None = grid) -> Tensor:
                z = z / 2.0**power
                return z if grid is None else F.grid_sample(z, grid, align_corners=False)

            logits, gradient = oracle.gradient(point, loss, view=view)
            total, first = total + gradient, logits if first is None else first
        if self.diversity > 0:  # what the diversified copy's logits say is not said of the point
            first = oracle.logits(point)
        return first if first is not None else logits, total / self.scales

    def _grid(self, rng: Streams, point: Tensor) -> Tensor | None:
        """Where each output pixel looks: (m, H, W, 2); None without diversity."""
        if self.diversity == 0:
            return None
        chance, scale, right, down = rng.uniform((4,)).to(point).unbind(1)
        scale = torch.where(chance < self.diversity, self.shrink + (1 - self.shrink) * scale, torch.ones_like(scale))
        slack = 1.0 / scale - 1.0  # how far the shrunk image can shift, in its own units
        theta = torch.zeros(len(point), 2, 3, dtype=point.dtype, device=point.device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1.0 / scale
        theta[:, 0, 2], theta[:, 1, 2] = slack * (2 * right - 1), slack * (2 * down - 1)
        return F.affine_grid(theta, list(point.shape), align_corners=False)

    def _smooth(self, gradient: Tensor) -> Tensor:
        """Convolution of each channel with a Gaussian kernel that reaches 3 sigma."""
        if self.kernel == 1:
            return gradient
        line = torch.exp(-0.5 * torch.linspace(-3, 3, self.kernel, dtype=gradient.dtype, device=gradient.device) ** 2)
        square = torch.outer(line, line) / line.sum() ** 2
        weight = square.expand(gradient.shape[1], 1, -1, -1)
        return F.conv2d(gradient, weight, padding="same", groups=gradient.shape[1])

    def _variance(self, oracle: Oracle, search: Survivors, point: Tensor, gradient: Tensor, threat: ThreatModel) -> Tensor:
        """Mean gradient around the point minus the gradient at it."""
        total = torch.zeros_like(point)
        for _ in range(self.neighbours):
            noise = search.rng.uniform(point.shape[1:], -1.0, 1.0).to(point)
            total += self._gradient(oracle, search, point + self.reach * threat.eps * noise, threat)[1]
        return total / self.neighbours - gradient if self.neighbours else total


@ATTACKS.register
class MIFGSM(TransferFGSM):
    """Momentum."""

    kind: Literal["mi_fgsm"] = "mi_fgsm"


@ATTACKS.register
class NIFGSM(TransferFGSM):
    """Nesterov's look-ahead."""

    kind: Literal["ni_fgsm"] = "ni_fgsm"
    look_ahead: bool = True


@ATTACKS.register
class SIFGSM(TransferFGSM):
    """Scaled copies, with the look-ahead as in the paper."""

    kind: Literal["si_fgsm"] = "si_fgsm"
    look_ahead: bool = True
    scales: PositiveInt = 5


@ATTACKS.register
class DIFGSM(TransferFGSM):
    """Input diversity."""

    kind: Literal["di_fgsm"] = "di_fgsm"
    diversity: float = Field(default=0.5, ge=0.0, le=1.0)


@ATTACKS.register
class TIFGSM(TransferFGSM):
    """Translation invariance."""

    kind: Literal["ti_fgsm"] = "ti_fgsm"
    kernel: PositiveInt = 15


@ATTACKS.register
class VMIFGSM(TransferFGSM):
    """Variance tuning."""

    kind: Literal["vmi_fgsm"] = "vmi_fgsm"
    neighbours: NonNegativeInt = 20


@ATTACKS.register
class VNIFGSM(TransferFGSM):
    """Variance tuning with the look-ahead."""

    kind: Literal["vni_fgsm"] = "vni_fgsm"
    look_ahead: bool = True
    neighbours: NonNegativeInt = 20
