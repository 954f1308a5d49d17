"""Points that a table's constraints allow, for objectives with a search of their own; `Context.attack` sees to it for the rest.

As attacks do, these search as if there were no constraints, on the model composed with the step to the admissible point next to
where it is asked (see `martensite.threat.repair`): the loss is that of an input that somebody can have, and its gradient is
pulled back to where the search stands.
"""

from torch import Tensor

from martensite.threat import ThreatModel


def admissible(threat: ThreatModel, point: Tensor, x: Tensor) -> Tensor:
    """The points (n, *d) to run the model on instead of ``point``, for clean inputs x; ``point`` itself without constraints."""
    repair = threat.repair(x, threat.eps)
    return point if repair is None else repair(point, x)


def pulled_back(threat: ThreatModel, gradient: Tensor, point: Tensor, x: Tensor) -> Tensor:
    """The gradient (n, *d) at `admissible` as one at ``point``."""
    repair = threat.repair(x, threat.eps)
    return gradient if repair is None else repair.pull_back(gradient, point, x)
