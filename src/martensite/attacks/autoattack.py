"""AutoAttack: an ensemble of attacks without parameters to tune.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
arXiv:2003.01690, sec. 5 (``rand``: sec. 6); for L1 Croce and Hein 2021, "Mind the box", arXiv:2103.01208, sec. 4.4. Targets adapt
to the number of classes: with K classes there are K - 1 of them at most.
"""

from collections.abc import Generator
from typing import Literal

from pydantic import PositiveInt

from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.ensemble import Ensemble
from martensite.attacks.eot import EOT
from martensite.attacks.fab import FAB
from martensite.attacks.square import Square
from martensite.attacks.verify import ONE_DRAW, Jury
from martensite.threat import ThreatModel

L1_TARGETS = 5


@ATTACKS.register
class AutoAttack(Ensemble):
    """The papers' ensembles.

    A targeted goal leaves each targeted attack that one target; the others go there as well.

    Args:
        version: ``"standard"``: APGD-CE, targeted APGD, targeted FAB, Square. ``"plus"``: five restarts, and APGD-DLR and
            untargeted FAB as well. ``"rand"``, for models that answer at random: APGD-CE and APGD-DLR on the expectation over
            draws, judged over as many fresh ones.
        steps: Of each gradient attack.
        queries: Of Square.
        targets: Of the targeted attacks. In L1, as in that paper, targeted APGD tries five at most, and APGD starts five times.
        draws: Of each question and each judgement, for ``"rand"``.
    """

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard", "plus", "rand"] = "standard"
    steps: PositiveInt = 100
    queries: PositiveInt = 5000
    targets: PositiveInt = 9
    draws: PositiveInt = 20

    @property
    def jury(self) -> Jury:
        """See `Attack.jury`."""
        return Jury(self.draws, 0.5) if self.version == "rand" else ONE_DRAW

    def members(self, threat: ThreatModel, classes: int) -> Generator[Attack, float, None]:
        """In the paper's order: the cheapest that breaks most comes first."""
        if self.version == "rand":
            yield EOT(attack=APGD(steps=self.steps), samples=self.draws, judge_samples=self.draws)
            yield EOT(attack=APGD(steps=self.steps, loss="dlr"), samples=self.draws, judge_samples=self.draws)
            return
        restarts = 5 if self.version == "plus" or threat.norm == "l1" else 1
        targets = min(self.targets, L1_TARGETS) if threat.norm == "l1" else self.targets
        targeted = APGDTargeted(steps=self.steps, targets=targets)
        yield APGD(steps=self.steps, restarts=restarts)
        if self.version == "plus":
            yield APGD(steps=self.steps, restarts=restarts, loss="dlr")
            yield FAB(steps=self.steps, restarts=restarts)
        else:
            yield targeted
            yield FAB(steps=self.steps, targets=self.targets)
        yield Square(queries=self.queries)
        if self.version == "plus":
            yield targeted
            yield FAB(steps=self.steps, targets=self.targets)
