"""Total-variation minimisation: the nearest image with little variation between neighbouring pixels.

Rudin, Osher and Fatemi 1992, "Nonlinear total variation based noise removal algorithms", Physica D 60: min_u TV(u) + |u - x|^2 /
(2 weight), solved by the dual projection of Chambolle 2004, "An algorithm for total variation minimization and applications",
J. Math. Imaging Vis. 20, eq. 9. As a defence: Guo et al. 2018, "Countering adversarial images using input transformations",
arXiv:1711.00117, sec. 3.2 (without their random choice of pixels); broken in Athalye, Carlini and Wagner 2018, sec. 5.3.1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from martensite.core.rng import Streams
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box

STEP = 0.248  # below 1/4, up to which the projection converges in practice (Chambolle 2004, sec. 3)


@TRANSFORMS.register
class TotalVariation(Transform):
    """Each channel by itself; the gradient is taken for the identity's.

    Args:
        weight: Of the variation, in units of the box's width; larger is smoother.
        steps: Of the dual projection.
    """

    kind: Literal["total_variation"] = "total_variation"
    weight: PositiveFloat = Field(default=0.1, le=10.0)
    steps: int = Field(default=50, ge=1, le=10_000)

    differentiable: ClassVar = False

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        weight = self.weight * (box[1] - box[0])
        field = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            slope = gradient(divergence(field) - x / weight)
            size = slope.square().sum(0).sqrt()
            field = (field + STEP * slope) / (1.0 + STEP * size)
        return torch.clamp(x - weight * divergence(field), *box)


def gradient(u: Tensor) -> Tensor:
    """(2, n, C, H, W) forward differences down and along; zero at the far edges."""
    down, along = torch.zeros_like(u), torch.zeros_like(u)
    down[..., :-1, :] = u[..., 1:, :] - u[..., :-1, :]
    along[..., :-1] = u[..., 1:] - u[..., :-1]
    return torch.stack([down, along])


def divergence(field: Tensor) -> Tensor:
    """(n, C, H, W): minus the adjoint of `gradient`."""
    down, along = field[0].clone(), field[1].clone()
    down[..., -1, :] = 0
    along[..., -1] = 0
    down[..., 1:, :] -= down[..., :-1, :].clone()
    along[..., 1:] -= along[..., :-1].clone()
    return down + along
