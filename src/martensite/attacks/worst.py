"""The worst of a list of candidates for each sample: all that attacks which only choose among transformations need."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from martensite.attacks.apgd import as_column
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.threat import ThreatModel

Candidate = Callable[[Tensor, Streams], Tensor]


def worst_of(oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams, candidates: Iterable[Candidate]) -> Tensor:
    """For each sample the candidate with the largest margin towards the goal; it leaves at the first that reaches it.

    Args:
        oracle: The model; scores, or labels, with which any candidate that fails is as good as another.
        x: (n, *d) clean inputs.
        y: (n,) the class to leave, or to reach.
        threat: Its goal.
        rng: One random stream a sample.
        candidates: Functions of some of the clean inputs (m, *d) and their streams to points (m, *d) of the box.
    """
    search = Survivors(oracle, x, y, threat, rng)
    search.carried = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    best = x
    for candidate in candidates:
        if not len(search):
            break
        point = candidate(search.x, search.rng)
        logits = oracle.ballot(point)
        gain = ascend("margin", search.y, threat.goal)(logits).double()
        best = torch.where(as_column(gain > search.carried, best), point, best)
        search.carried = torch.maximum(gain, search.carried)
        _, best = search.drop_broken(logits, point, best)
    search.settle(best)
    return search.found
