"""AutoAttack: an ensemble of attacks without parameters to tune.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
arXiv:2003.01690, sec. 5. Targets adapt to the number of classes: with K classes there are K - 1 of them at most.
"""

from collections.abc import Generator
from typing import ClassVar, Literal

from pydantic import PositiveInt

from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.ensemble import Ensemble
from martensite.attacks.fab import FAB
from martensite.attacks.square import Square
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class AutoAttack(Ensemble):
    """The paper's ensembles.

    Args:
        version: ``"standard"``: APGD-CE, targeted APGD, targeted FAB, Square. ``"plus"``: five restarts, and APGD-DLR and
            untargeted FAB as well.
        steps: Of each gradient attack.
        queries: Of Square.
        targets: Of the targeted attacks.
    """

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard", "plus"] = "standard"
    steps: PositiveInt = 100
    queries: PositiveInt = 5000
    targets: PositiveInt = 9

    norms: ClassVar[tuple[Norm, ...]] = ("linf",)

    def members(self, threat: ThreatModel, classes: int) -> Generator[Attack, float, None]:
        """In the paper's order: the cheapest that breaks most comes first."""
        targets = min(self.targets, classes - 1)
        restarts = 5 if self.version == "plus" else 1
        yield APGD(steps=self.steps, restarts=restarts)
        if self.version == "plus":
            yield APGD(steps=self.steps, restarts=restarts, loss="dlr")
            yield FAB(steps=self.steps, restarts=restarts)
        else:
            yield APGDTargeted(steps=self.steps, targets=targets)
            yield FAB(steps=self.steps, targets=targets)
        yield Square(queries=self.queries)
        if self.version == "plus":
            yield APGDTargeted(steps=self.steps, targets=targets)
            yield FAB(steps=self.steps, targets=targets)
