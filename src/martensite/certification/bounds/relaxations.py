"""Linear bounds on a non-linear layer over intervals of its inputs, and the step that takes rows backward through them.

Zhang et al. 2018, "Efficient neural network robustness certification with general activation functions" (CROWN),
arXiv:1811.00866, tables 2 and 3. An intercept is not computed from a formula for the point of contact but as the extremum of the
function minus the slope, rounded outward, so that the line is a bound whatever its slope: rounding can make it looser, never
wrong.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from martensite.certification.bounds.operations import MaxPool, Nonlinear, Rectifier, Tanh
from martensite.certification.bounds.rows import Rows

OUTWARD = 1e-14  # above the rounding of tanh and of a few operations on numbers of size 1
FLATTEST = 1e-12  # slope of a tangent of tanh: flatter ones touch it at points too far out to compute
HALVINGS = 30  # of the search for a point of contact: what it misses costs tightness only


@dataclass(frozen=True, eq=False)
class Lines:
    """lower_slope z + lower_offset <= f(z) <= upper_slope z + upper_offset, entry by entry; each (B, *d).

    No lower offset means none but 0.
    """

    lower_slope: Tensor
    lower_offset: Tensor | None
    upper_slope: Tensor
    upper_offset: Tensor

    def back(self, rows: Rows, slope: Tensor | None = None) -> tuple[Rows, Tensor]:
        """Rows with rows f(z) >= new rows z + constant, and the constants (P,).

        Args:
            rows: On the layer's outputs.
            slope: (P, *d) lower slopes to take instead; only where the lower lines have no offset.
        """
        up, down = rows.a.clamp_min(0.0), rows.a.clamp_max(0.0)
        lower = rows.at(self.lower_slope) if slope is None else slope
        constant = (down * rows.at(self.upper_offset)).flatten(1).sum(1)
        if self.lower_offset is not None:
            constant = constant + (up * rows.at(self.lower_offset)).flatten(1).sum(1)
        return replace(rows, a=up * lower + down * rows.at(self.upper_slope)), constant


@dataclass(frozen=True, eq=False)
class Picks:
    """z_best <= max of a window <= z_best if that entry is surely the largest, else <= top.

    Attributes:
        best: (B, c, H', W') place in the flattened image (H, W) of the entry with the highest lower end.
        sure: (B, c, H', W') whether no other entry can be larger.
        top: (B, c, H', W') the highest upper end.
        image: (c, H, W).
    """

    best: Tensor
    sure: Tensor
    top: Tensor
    image: tuple[int, ...]

    def back(self, rows: Rows, slope: Tensor | None = None) -> tuple[Rows, Tensor]:
        """See `Lines.back`; there are no slopes to choose."""
        a, sure = rows.a, rows.at(self.sure)
        channels, height, width = self.image
        through = torch.where(sure, a, a.clamp_min(0.0))
        before = a.new_zeros(len(a), channels, height * width)
        before = before.scatter_add(2, rows.at(self.best).flatten(2), through.flatten(2))
        constant = (torch.where(sure, 0.0, a.clamp_max(0.0)) * rows.at(self.top)).flatten(1).sum(1)
        return Rows(before.view(-1, channels, height, width), rows.owner), constant


Relaxation = Lines | Picks


def relax(op: Nonlinear, low: Tensor, high: Tensor) -> Relaxation:
    """Bounds on a layer whose inputs lie in [low, high], (B, *d) float64 each."""
    if isinstance(op, Rectifier):
        return rectifier_lines(op.slope, low, high)
    return tanh_lines(low, high) if isinstance(op, Tanh) else picks(op, low, high)


def undecided(op: Nonlinear, low: Tensor, high: Tensor) -> Tensor:
    """(B, *d) bool: inputs for which tighter ends could mean tighter lines."""
    return (low < 0) & (high > 0) if isinstance(op, Rectifier) else low < high


def rectifier_lines(slope: float, low: Tensor, high: Tensor) -> Lines:
    """ReLU and leaky ReLU, a for ``slope``: convex, so that the chord bounds it from above and any s z, a <= s <= 1, from below.

    The lower slope is 1 where the interval reaches further up than down, else a (the adaptive choice of CROWN, sec. 3.3).
    """
    on, off = low >= 0, high <= 0
    chord = (high - slope * low) / (high - low)
    upper = torch.where(on, 1.0, torch.where(off, slope, chord))
    # A line is above a convex function if it is at both ends.
    needed = torch.maximum(slope * low - upper * low, high - upper * high)
    offset = needed.clamp_min(0.0) + OUTWARD * torch.maximum(low.abs(), high.abs())
    lower = torch.where(on | (~off & (high > -low)), 1.0, torch.full_like(low, slope))
    return Lines(lower, None, upper, torch.where(on | off, 0.0, offset))


def tanh_lines(low: Tensor, high: Tensor) -> Lines:
    """tanh: convex below 0 and concave above, and odd, so that an upper line is a lower one of the interval's mirror image."""
    lower_slope, lower_offset = _below_tanh(low, high)
    upper_slope, upper_offset = _below_tanh(-high, -low)
    return Lines(lower_slope, lower_offset, upper_slope, -upper_offset)


def _below_tanh(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of a line below tanh on [low, high].

    The chord, if it stays below at its lower end. Else a tangent: in the middle, which leaves the least area, or where it ends on
    the curve's upper end, if that comes first; beyond that point, found by bisection, tangents cross the curve.
    """
    gap = high - low
    chord = torch.where(gap > 1e-6, (high.tanh() - low.tanh()) / gap.clamp_min(1e-6), _slope(low))
    left, right = low, high.clamp_max(0.0).maximum(low)
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        above = middle.tanh() + _slope(middle) * (high - middle) > high.tanh()
        left, right = torch.where(above, left, middle), torch.where(above, middle, right)
    tangent = _slope(torch.minimum(left, (low + high) / 2))
    slope = torch.where(_slope(low) >= chord, chord, tangent).clamp(FLATTEST, 1.0)
    # The least of tanh z - slope z lies at an end, or where the derivatives agree on the convex side.
    contact = -(1.0 - slope).sqrt().atanh()
    contact = torch.where((contact > low) & (contact < high), contact, low)
    values = [point.tanh() - slope * point for point in (low, high, contact)]
    least = torch.minimum(torch.minimum(values[0], values[1]), values[2])
    return slope, least - OUTWARD * (2.0 + torch.maximum(low.abs(), high.abs()))


def _slope(z: Tensor) -> Tensor:
    return 1.0 - z.tanh().square()


def picks(op: MaxPool, low: Tensor, high: Tensor) -> Picks:
    """Max pooling: from below the entry with the highest lower end, from above that entry if it is sure, else a constant."""
    values, best = torch.nn.functional.max_pool2d(low, op.kernel, op.stride, op.padding, op.dilation, return_indices=True)
    lows, highs = op.windows(low), op.windows(high)
    leader = lows.argmax(2, keepdim=True)
    rivals = highs.scatter(2, leader, -torch.inf).amax(2).view_as(values)
    places = torch.arange(op.image[1] * op.image[2], dtype=torch.float64, device=low.device).view(1, 1, *op.image[1:])
    best = op.windows(places.expand(1, *op.image)).expand(len(low), -1, -1, -1).gather(2, leader).view_as(values).long()
    return Picks(best, values >= rivals, highs.amax(2).view_as(values), op.image)
