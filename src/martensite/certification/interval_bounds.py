"""Interval bounds (IBP): the fastest certificate, and a loose one for networks that weren't trained for it.

Gowal et al. 2018, arXiv:1810.12715.
"""

from typing import Literal

import torch
from torch import Tensor

from martensite.certification.bounded import Bounded
from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.linear import Bounds
from martensite.certification.bounds.margins import interval_margins
from martensite.certification.certifier import CERTIFIERS


@CERTIFIERS.register
class IntervalBounds(Bounded):
    """Interval bound propagation, with the last layer merged with the margins."""

    kind: Literal["interval_bounds"] = "interval_bounds"

    def margins(self, graph: Graph, region: Region, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bounded.margins`."""
        return interval_margins(Bounds.by_intervals(graph, region), labels).amin(1), torch.ones_like(labels)
