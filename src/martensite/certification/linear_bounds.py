"""Linear bounds (CROWN): each sample by the cheapest bound that certifies it.

Zhang et al. 2018, arXiv:1811.00866; Xu et al. 2020 and 2021, arXiv:2002.12920, 2011.13824.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from martensite.certification.bounded import Bounded
from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.linear import Bounds
from martensite.certification.bounds.margins import interval_margins, linear_margins
from martensite.certification.certifier import CERTIFIERS

INNER: tuple[Literal["intervals", "backward"], ...] = ("intervals", "backward")  # bounds of inner layers, the cheaper first


@CERTIFIERS.register
class LinearBounds(Bounded):
    """A cascade: interval bounds; linear bounds on what they leave undecided; tighter ones on what is undecided still.

    Args:
        variant: The last resort. ``"crown-ibp"``: linear bounds whose inner layers have interval bounds. ``"crown"``: inner
            layers are bounded backward too. ``"alpha-crown"``: lower slopes of rectifiers are optimised besides.
        steps: Of that optimisation.
    """

    kind: Literal["linear_bounds"] = "linear_bounds"
    variant: Literal["crown-ibp", "crown", "alpha-crown"] = "crown"
    steps: PositiveInt = 20

    def margins(self, graph: Graph, region: Region, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bounded.margins`."""
        bounds, place = Bounds.by_intervals(graph, region), torch.arange(len(labels), device=labels.device)
        rivals, passes = interval_margins(bounds, labels), torch.ones_like(labels)
        for inner in INNER[: 1 if self.variant == "crown-ibp" else 2]:
            open_ = (rivals[place].amin(1) <= 0).nonzero().squeeze(1)
            if not len(open_):
                break
            place, bounds = place[open_], bounds[open_]
            steps = self.steps if self.variant == "alpha-crown" and inner == "backward" else 0
            rivals[place] = torch.maximum(rivals[place], linear_margins(bounds, labels[place], inner, steps))
            passes[place] += 1
        return rivals.amin(1), passes
