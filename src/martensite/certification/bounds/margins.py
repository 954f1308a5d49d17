"""Lower bounds on margins: by how much, at least, the label's logit stays above every other's, over a whole region."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from martensite.certification.bounds.alpha import optimise, parallel
from martensite.certification.bounds.linear import Bounds, margin_rows


def interval_margins(bounds: Bounds, labels: Tensor) -> Tensor:
    """(B, K - 1) margins by interval arithmetic, against each rival in the order of classes."""
    with torch.no_grad():
        return bounds.intervals_least(margin_rows(labels, bounds.graph.classes)).view(len(labels), -1)


def linear_margins(bounds: Bounds, labels: Tensor, inner: Literal["intervals", "backward"], steps: int = 0) -> Tensor:
    """(B, K - 1) margins by linear bounds.

    A margin that the adaptive lower slopes leave open is bounded once more with slopes parallel to the upper lines (Weng et al.
    2018, "Towards fast computation of certified robustness for ReLU networks", arXiv:1804.09699, sec. 3.3): neither choice is
    better on all networks.

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
    if len(open_ := (found <= 0).nonzero().squeeze(1)):
        left = replace(rows, a=rows.a[open_], owner=rows.owner[open_])
        with torch.no_grad():
            found[open_] = torch.maximum(found[open_], bounds.least(left, parallel(bounds, left.owner)))
    if steps and len(open_ := (found <= 0).nonzero().squeeze(1)):
        left = replace(rows, a=rows.a[open_], owner=rows.owner[open_])
        found[open_] = torch.maximum(found[open_], optimise(bounds, left, steps))
    return found.view(len(labels), -1)
