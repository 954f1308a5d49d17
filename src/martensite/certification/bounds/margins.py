"""Lower bounds on margins: by how much, at least, the label's logit stays above every other's, over a whole region."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from martensite.certification.bounds.alpha import optimise
from martensite.certification.bounds.linear import Bounds, margin_rows


def interval_margins(bounds: Bounds, labels: Tensor) -> Tensor:
    """(B, K - 1) margins by interval arithmetic, against each rival in the order of classes."""
    with torch.no_grad():
        return bounds.intervals_least(margin_rows(labels, bounds.graph.classes)).view(len(labels), -1)


def linear_margins(bounds: Bounds, labels: Tensor, inner: Literal["intervals", "backward"], steps: int = 0) -> Tensor:
    """(B, K - 1) margins by linear bounds.

    Args:
        bounds: Of B samples, by intervals; their relaxations are made anew.
        labels: (B,) classes.
        inner: Where bounds on inner layers come from: ``"intervals"`` is CROWN-IBP (Zhang et al. 2020, "Towards stable and
            efficient training of verifiably robust neural networks", arXiv:1906.06316, sec. 3.2), ``"backward"`` full CROWN.
        steps: Of alpha-CROWN, on the margins that aren't positive without.
    """
    rows = margin_rows(labels, bounds.graph.classes)
    with torch.no_grad():
        bounds.relax(inner)
        found = bounds.least(rows)
    open_ = (found <= 0).nonzero().squeeze(1)
    if steps and len(open_):
        left = replace(rows, a=rows.a[open_], owner=rows.owner[open_])
        found[open_] = torch.maximum(found[open_], optimise(bounds, left, steps))
    return found.view(len(labels), -1)
