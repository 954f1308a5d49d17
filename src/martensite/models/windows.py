"""Logits of points that differ from known ones in a window or two, for the price of what these reach.

A convolution's output depends on a few inputs around it; so where a model begins with convolutions and pooling, a small window
of the input changes small windows of their outputs, and the rest is as it was. The activations of the known points are kept,
channels last, so that a position is a run of memory; a window is written into them, read with what lies around, and taken back.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

from martensite.models.access import Model
from martensite.models.passes import by_parts
from martensite.models.window_layers import Opening, Sides, opening

MOST_BYTES = 2**28  # of what is kept
MOST_READ = 2**25  # bytes of windows that are read for one layer at once
# What a question about windows costs, in multiplications of a whole pass: as measured on five networks, docs/performance.md.
SLOWER = 1.5  # a multiplication in a window: matrices are smaller, and more memory is moved
OVERHEAD = 15e6  # each question, about however many points
WORTH = 0.65  # of a whole pass; what would take more isn't worth the trouble
AGREE = 1e-4  # of the largest logit: sums are made in another order
UNITS = 32.0  # in the last place of the largest logit: logits that differ by less are the same, summed in another order


class Known:
    """Points whose activations are kept.

    Args:
        opening: The model.
        x: (m, C, H, W) the points.

    Attributes:
        kept: (m, *) padded input of each layer, output of the last, and logits; to be indexed alike where points leave.
    """

    @torch.no_grad()
    def __init__(self, opening: Opening, x: Tensor) -> None:
        self._opening, now = opening, opening.enter(x)
        self.kept: list[Tensor] = []
        for layer in opening.layers:
            (tall, wide), fill = layer.padding, layer.fill
            self.kept.append(pad(now, (wide, wide, tall, tall), value=fill).permute(0, 2, 3, 1).contiguous())
            now = layer.whole(now)
        self.kept += [now.permute(0, 2, 3, 1).contiguous(), by_parts(opening.rest, now.clone())]
        self._device, self._offsets = x.device, dict[Sides, list[Tensor]]()
        areas = torch.tensor([prod(kept.shape[1:3]) for kept in self.kept[:-1]], device=x.device)
        self._areas = areas.repeat_interleave(2)[:-1]
        self._written: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def answers(self) -> Tensor:
        """(m, K) logits of the points as they are known."""
        return self.kept[-1]

    def places(self, corner: Tensor, sides: Sequence[Sides]) -> Tensor:
        """Where windows lie in the activations of their points, for `logits`.

        Args:
            corner: int64 (m, count, 2) row and column of the windows' upper left corners.
            sides: Height and width of the windows, for each of the count.

        Returns:
            int64 (m, count, p).
        """
        found = list[Tensor]()
        for layer in self._opening.layers:
            steps = torch.tensor([layer.size[1], 1], device=self._device)
            found.append(((corner + torch.tensor(layer.padding, device=self._device)) * steps).sum(-1))
            corner, sides = layer.reached(corner, sides), [layer.reach(pair) for pair in sides]
            found.append((corner * torch.tensor(layer.stride, device=self._device) * steps).sum(-1))
        width = self.kept[-2].shape[2]
        return torch.stack([*found, corner[..., 0] * width + corner[..., 1]], dim=-1)

    @torch.no_grad()
    def logits(self, rows: Tensor, places: Tensor, sides: Sides, values: Tensor) -> Tensor:
        """Logits (k, K) of some points with r windows changed. The change is kept, unless `take_back` follows.

        Where it makes no difference but in rounding they are exactly those from before.

        Args:
            rows: int64 (k,) which points, each at most once.
            places: int64 (k, r, p) where each one's windows lie.
            sides: Height and width of the windows.
            values: (k, r, C, height, width) what they hold; the same where they overlap.
        """
        self._written = []
        first = (places + rows[:, None, None] * self._areas).flatten(0, 1).unbind(1)
        if sides not in self._offsets:
            self._offsets[sides] = self._offsets_of(sides)
        offsets = self._offsets[sides]
        held = self._opening.enter(values.flatten(0, 1)).permute(0, 2, 3, 1).flatten(0, 2)
        for number, (layer, kept) in enumerate(zip(self._opening.layers, self.kept, strict=False)):
            flat = self._write(kept, rows, first[2 * number][:, None] + offsets[2 * number], held)
            around = first[2 * number + 1][:, None] + offsets[2 * number + 1]
            windows = flat.index_select(0, around.flatten()).view(-1, prod(layer.kernel), flat.shape[1])
            held = layer.finish(layer.outputs(windows))
        self._write(self.kept[-2], rows, first[-1][:, None] + offsets[-1], held)
        answers = self._opening.rest(self.kept[-2].index_select(0, rows).permute(0, 3, 1, 2).contiguous())
        before = self.answers.index_select(0, rows)
        rounding = UNITS * torch.finfo(before.dtype).eps * before.abs().amax(1, keepdim=True)
        answers = torch.where((answers - before).abs().amax(1, keepdim=True) <= rounding, before, answers)
        self._written.append((self.answers, rows[:, None], before))
        self.answers.index_copy_(0, rows, answers)
        return answers

    @torch.no_grad()
    def take_back(self, which: Tensor) -> None:
        """Undo the change of some of the points that were just asked about, before ``kept`` is indexed.

        Args:
            which: int64 (r,) which of the k.
        """
        for flat, places, before in self._written:
            former = before.view(len(places), -1).index_select(0, which)
            flat.index_copy_(0, places.index_select(0, which).flatten(), former.view(-1, flat.shape[1]))

    @torch.no_grad()
    def agrees(self, x: Tensor, sides: Sides) -> bool:
        """Whether the model says the same of its points x (m, C, H, W) with a window changed, at the edges or in the middle."""
        rows = torch.arange(len(x), device=x.device)
        free = torch.tensor(x.shape[2:], device=x.device) - torch.tensor(sides, device=x.device)
        corner = free * torch.stack([rows % 3, rows // 3 % 3], dim=1) // 2  # first, middle and last place on either axis
        changed, values = x.clone(), list[Tensor]()
        for point, (top, left) in zip(changed, corner.tolist(), strict=True):
            window = point[:, top : top + sides[0], left : left + sides[1]]
            values.append(window.copy_(sum(self._opening.model.box) - window))
        ours = self.logits(rows, self.places(corner[:, None], [sides]), sides, torch.stack(values)[:, None])
        self.take_back(rows)
        theirs = by_parts(self._opening.model, changed.to(self._opening.model.dtype))
        return bool((ours - theirs).abs().max() <= AGREE * theirs.abs().max())

    def _write(self, kept: Tensor, rows: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """Write values (k * r * area, C) of points rows (k,); the activations, position by position."""
        flat = kept.flatten(0, 2)
        self._written.append((flat, places.view(len(rows), -1), flat.index_select(0, places.flatten())))
        return flat.index_copy_(0, places.flatten(), values)

    def _offsets_of(self, sides: Sides) -> list[Tensor]:
        """How far the positions of windows lie behind the first: those written and those read at each layer, and at the end."""
        offsets = list[Tensor]()
        for layer in self._opening.layers:
            offsets.append(self._block(sides, layer.size[1]))
            sides = layer.reach(sides)
            kernels = self._block(sides, layer.size[1], layer.stride)
            offsets.append((kernels[:, None] + self._block(layer.kernel, layer.size[1])).flatten())
        return [*offsets, self._block(sides, self.kept[-2].shape[2])]

    def _block(self, sides: Sides, width: int, stride: Sides = (1, 1)) -> Tensor:
        tall, wide = (torch.arange(side, device=self._device) * step for side, step in zip(sides, stride, strict=True))
        return (tall[:, None] * width + wide).flatten()


def known(model: Model, x: Tensor, sides: Sides, windows: int = 1) -> Known | None:
    """Points x (m, *d), to be asked about with so many windows of these sides changed; None where whole passes are as good.

    So it is where the model isn't a sequence that begins with convolutions, in half precision, on a GPU, where the windows reach
    too much or most of the work comes later, and where it takes too much memory. Whether the model itself says the same,
    `Known.agrees` tells.
    """
    found = opening(model, tuple(x.shape[1:])) if x.device.type == "cpu" and len(x) else None
    if found is None or (size := found.model.dtype.itemsize) < torch.float32.itemsize:
        return None
    if len(x) * found.values * size > MOST_BYTES or len(x) * windows * found.read(sides) * size > MOST_READ:
        return None
    cost = OVERHEAD / len(x) + found.others + SLOWER * windows * found.reached_work(sides)
    if cost > WORTH * (found.others + found.work):
        return None
    return Known(found, x)
