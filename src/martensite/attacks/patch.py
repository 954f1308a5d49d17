"""Patch: a square that breaks the image it is laid on, wherever it comes to lie.

Brown, Mane, Roy, Abadi and Gilmer 2017, "Adversarial patch", arXiv:1712.09665, sec. 2.
"""

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class Patch(Attack):
    """A patch for all images (C, H, W) of the batch it is given, trained over random places, rotations and scales.

    The threat model is L0: a patch may change eps features, so its largest side is sqrt(eps / C) pixels, and its values are
    any of the box. Each image is judged with the patch at a random place: success says that a patch dropped blindly works, not
    that there is a place where it does. The engine's batches get a patch each: ``batch_size=len(x)`` makes one for all.

    Args:
        steps: Gradient steps.
        step_size: In input units; None: 2.5 times half the box's width over ``steps``, from the middle of the box.
        degrees: Largest rotation either way.
        scale: Least side, as a share of the largest.
        loss: What to climb.
    """

    kind: Literal["patch"] = "patch"
    steps: PositiveInt = 200
    step_size: PositiveFloat | None = None
    degrees: float = Field(default=20.0, ge=0.0, le=180.0)
    scale: float = Field(default=0.75, gt=0.0, le=1.0)
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l0",)

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """Images (C, H, W) only, and an eps of a pixel at least."""
        if len(shape) != 3 or threat.eps < shape[0]:
            raise ThreatError(
                f"patch was given inputs of shape {shape} and eps {threat.eps:g}",
                "it covers images (C, H, W), and a pixel of them has C features",
                "give images, and an eps of at least C",
            )

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """patch <- clip(patch + step_size * sign(mean over images and placements of grad loss))."""
        self.check_shape(tuple(x.shape[1:]), threat)
        low, high = threat.box
        side = min(math.sqrt(math.floor(threat.eps) / x.shape[1]), *x.shape[-2:])
        step = 1.25 * (high - low) / self.steps if self.step_size is None else self.step_size
        patch = x.new_full((1, x.shape[1], math.ceil(side), math.ceil(side)), (low + high) / 2.0)
        final = self._placement(x, side, rng)
        for _ in range(self.steps):
            placement = self._placement(x, side, rng)
            _, gradient = oracle.gradient(
                patch.expand(len(x), -1, -1, -1),
                ascend(self.loss, y, threat.goal),
                through=lambda each, placement=placement: lay(each, x, placement),  # type: ignore[misc]
            )
            patch = (patch + step * gradient.sum(0, keepdim=True).sign()).clamp(low, high)
            # A turned square may cover a pixel more than its area: the projection takes the least change back.
            oracle.found = threat.project(lay(patch.expand(len(x), -1, -1, -1), x, final), x)
        return oracle.found

    def _placement(self, x: Tensor, side: float, rng: Streams) -> "Placement":
        """A random one for each image, all of the patch inside it."""
        turn, size, right, down = rng.uniform((4,)).to(x.device, torch.float64).unbind(1)
        turn = (2.0 * turn - 1.0) * math.radians(self.degrees)
        size = side * (self.scale + (1.0 - self.scale) * size)
        reach = size / 2.0 * (turn.cos().abs() + turn.sin().abs())  # from the centre to the furthest row or column
        high, wide = x.shape[-2:]
        centre = [reach + at * (length - 2.0 * reach) for at, length in ((right, wide), (down, high))]
        return Placement(turn, size, *(torch.where(2 * reach > n, n / 2.0, c) for c, n in zip(centre, (wide, high), strict=True)))


class Placement(NamedTuple):
    """Where patches lie: angle in radians, side, column and row of the centre in pixels, float64 (n,) each."""

    turn: Tensor
    side: Tensor
    column: Tensor
    row: Tensor


def lay(patch: Tensor, x: Tensor, placement: Placement) -> Tensor:
    """Images (n, C, H, W) with patches (n, C, r, r) over the pixels whose centres they cover; differentiable in the patch."""
    turn, side, column, row = (part.view(-1, 1, 1) for part in placement)
    high, wide = x.shape[-2:]
    down = torch.arange(high, dtype=torch.float64, device=x.device).view(1, -1, 1) + 0.5 - row
    right = torch.arange(wide, dtype=torch.float64, device=x.device).view(1, 1, -1) + 0.5 - column
    # In the patch's own units: -1 to 1 from edge to edge.
    across = 2.0 / side * (turn.cos() * right - turn.sin() * down)
    along = 2.0 / side * (turn.sin() * right + turn.cos() * down)
    covered = (across.abs() < 1.0) & (along.abs() < 1.0)
    grid = torch.stack([across, along], 3).to(patch.dtype)
    shown = F.grid_sample(patch, grid, padding_mode="border", align_corners=False)
    return torch.where(covered[:, None], shown, x)
