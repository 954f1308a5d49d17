"""Adaptive: a cascade that spends where there is something to win.

AutoAttack spends most of its passes on samples that nothing breaks: nine targets at full length, a second family of attacks, and
thousands of queries. The cascade goes by what was observed. Nearly all that fall, fall to one of the few likeliest targets, so
short runs on them come first and only then a long one. In L2 a minimum-norm search breaks more than either, at the price of a
few targets, and a longer search by scores some more, of models that were trained for another norm. Many black-box queries and
more gradient attacks find what is left only where gradients mislead; so a short black-box probe decides whether the whole of
AutoAttack is run on what withstood. In Linf a search by scores of full length still finds one in a hundred where gradients seem
sound (two networks trained by PGD on MNIST); who will fall to it shows early, and the others are given up.
"""

from collections.abc import Generator
from typing import Literal

from pydantic import Field, PositiveInt

from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.autoattack import AutoAttack
from martensite.attacks.ddn import DDN
from martensite.attacks.ensemble import Ensemble
from martensite.attacks.square import Square
from martensite.threat import ThreatModel

HOPELESS = 0.04
L1_STARTS, L1_TARGETS = 4, 5  # nearly as many as AutoAttack's: sparse steps depend on where they start


@ATTACKS.register
class Adaptive(Ensemble):
    """Our cascade: about a tenth of AutoAttack's passes where gradients can be trusted, all of AutoAttack where they can't.

    Args:
        steps: Of the long run.
        targets: Likeliest classes that the long run tries.
        probe: Queries a sample of the black-box probe.
        queries: Of the search by scores at the end, in Linf, for samples that it doesn't give up (see `Square.hopeless`).
        suspicion: If the probe breaks more than this share of what gradients left, AutoAttack runs.
    """

    kind: Literal["adaptive"] = "adaptive"
    steps: PositiveInt = 100
    targets: PositiveInt = 3
    probe: PositiveInt = 100
    queries: PositiveInt = 5000
    suspicion: float = Field(default=0.01, ge=0.0, le=1.0)

    def members(self, threat: ThreatModel, classes: int) -> Generator[Attack, float, None]:
        """Short, probing, long; and everything if the probe found what gradients missed."""
        yield APGD(steps=min(20, self.steps))
        yield APGDTargeted(steps=min(20, self.steps), targets=self.targets)
        if threat.norm == "l2":
            yield DDN(steps=self.steps)
        found = yield Square(queries=self.probe)
        if (found or 0.0) > self.suspicion:
            yield from AutoAttack().members(threat, classes)
            return
        if threat.norm == "l1":
            yield APGD(steps=self.steps, restarts=L1_STARTS)
        yield APGDTargeted(steps=self.steps, targets=max(self.targets, L1_TARGETS) if threat.norm == "l1" else self.targets)
        if threat.norm == "l2":
            yield Square(queries=10 * self.probe)
        if threat.norm == "linf":
            yield Square(queries=self.queries, hopeless=HOPELESS)
