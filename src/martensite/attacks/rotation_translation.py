"""Rotations and translations: the worst of a grid of them, or of random ones.

Engstrom, Tran, Tsipras, Schmidt and Madry 2019, "Exploring the landscape of spatial robustness", arXiv:1712.02779, sec. 3.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.oracle import Oracle
from martensite.attacks.worst import Candidate, worst_of
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import Box


@ATTACKS.register
class RotationTranslation(Attack):
    """The rotated and shifted image that the model likes least; what comes into view is filled with the box's lower end.

    Success is against this set of transformations, of images (C, H, W) only: the threat model's eps limits nothing, and its norm
    says what distance is reported. The defaults are the paper's.

    Args:
        degrees: Largest rotation either way.
        shift: Largest shift either way, as a share of the side.
        mode: ``"grid"``: every combination of evenly spaced values; ``"random"``: the worst of some random ones.
        angles: Rotations of the grid.
        shifts: Shifts of the grid along each side.
        samples: Random transformations.
    """

    kind: Literal["rotation_translation"] = "rotation_translation"
    degrees: float = Field(default=30.0, ge=0.0, le=180.0)
    shift: float = Field(default=0.1, ge=0.0, le=1.0)
    mode: Literal["grid", "random"] = "grid"
    angles: PositiveInt = 31
    shifts: PositiveInt = 5
    samples: PositiveInt = 10

    needs: ClassVar = Access.DECISIONS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1", "l0")
    ball: ClassVar[bool] = False

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """Images (C, H, W) only."""
        if len(shape) != 3:
            raise ThreatError(
                f"{self.kind} was given inputs of shape {shape}", "only images (C, H, W) can be rotated", "leave it out"
            )

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """The worst of the grid, from the smallest change to the largest, or of the random draws."""
        self.check_shape(tuple(x.shape[1:]), threat)
        return worst_of(oracle, x, y, threat, rng, self._grid(threat.box) if self.mode == "grid" else self._random(threat.box))

    def _grid(self, box: Box) -> Iterator[Candidate]:
        shifts = _spaced(self.shift, self.shifts)
        cells = list(product(_spaced(self.degrees, self.angles), shifts, shifts))
        for cell in sorted(cells, key=lambda cell: [abs(value) for value in cell]):
            yield _fixed(*cell, box)

    def _random(self, box: Box) -> Iterator[Candidate]:
        def candidate(x: Tensor, rng: Streams) -> Tensor:
            angle, right, down = rng.uniform((3,), -1.0, 1.0).double().unbind(1)
            return move(x, self.degrees * angle, self.shift * right, self.shift * down, box)

        for _ in range(self.samples):
            yield candidate


def _fixed(angle: float, right: float, down: float, box: Box) -> Candidate:
    return lambda x, _: move(x, x.new_tensor([angle]), x.new_tensor([right]), x.new_tensor([down]), box)


def move(x: Tensor, degrees: Tensor, right: Tensor, down: Tensor, box: Box) -> Tensor:
    """Rotate images about their centre and shift them, with bilinear interpolation.

    Args:
        x: (n, C, H, W) in the box.
        degrees: (n,) or (1,) anticlockwise.
        right: Likewise, as a share of the width.
        down: Likewise, as a share of the height.
        box: Its lower end fills what comes into view.

    Returns:
        (n, C, H, W) in the box, x's dtype; exactly x where nothing is moved.
    """
    high, wide = x.shape[-2:]
    turn = degrees.double() * (math.pi / 180.0)
    cos, sin, x_shift, y_shift = turn.cos(), turn.sin(), 2.0 * right.double(), 2.0 * down.double()
    # affine_grid asks where an output pixel comes from, in units in which the image is 2 wide and 2 high, y downwards.
    first = torch.stack([cos, -sin * high / wide, -cos * x_shift + sin * y_shift * high / wide], 1)
    second = torch.stack([sin * wide / high, cos, -sin * x_shift * wide / high - cos * y_shift], 1)
    theta = torch.stack([first, second], 1).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    # Relative to the fill, since outside is zero; in float64, so that the rounding of a coordinate changes no pixel.
    moved = F.grid_sample(x.double() - box[0], grid, align_corners=False) + box[0]
    still = (degrees == 0) & (right == 0) & (down == 0)
    return torch.where(still.view(-1, 1, 1, 1), x, moved.to(x.dtype).clamp(*box))


def _spaced(limit: float, count: int) -> list[float]:
    """``count`` evenly spaced values of [-limit, limit]; a single one is zero."""
    return [limit * (2 * place / (count - 1) - 1) for place in range(count)] if count > 1 else [0.0]
