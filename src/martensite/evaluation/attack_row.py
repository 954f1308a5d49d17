"""One row of a report's table of attacks."""

from typing import Any, Literal

from martensite.core.config import Config
from martensite.evaluation.rate import Rate


class AttackRow(Config):
    """One attack of a suite.

    Attributes:
        name: What the table shows, e.g. ``"pgd"``.
        attack: The attack's configuration, from which it can be rebuilt.
        robust_accuracy: Share of all samples that stayed correct under it; errors count against. With ``scope`` ``"survivors"``:
            under it and every attack before it, because what those had broken it never saw.
        broken: Samples it turned from correct to wrong, of those it ran on.
        errors: Samples it could not be run on.
        forwards: Forward passes times samples.
        backwards: Backward passes times samples.
        rejected: Candidates that the verifier refused.
        scope: ``"all"``: it ran on every sample that is correct without an attack. ``"survivors"``: on those alone that no attack
            before it had broken, so its own success rate is ``broken / attacked`` and is not that of the attacks on all samples.
        attacked: Samples it ran on, correct without an attack; None in reports of older versions.
        in_threat: False: an attack by its own transformations (rotations, weather), which no ball holds. It stands beside the
            threat model and counts for nothing in the worst case.
        surrogate: The model that its adversarials were made on, to be judged on this one; None: this one itself.
    """

    name: str
    attack: dict[str, Any]
    robust_accuracy: Rate
    broken: int
    errors: int
    forwards: int
    backwards: int
    rejected: int = 0
    scope: Literal["all", "survivors"] = "all"
    attacked: int | None = None
    in_threat: bool = True
    surrogate: str | None = None

    @property
    def success_rate(self) -> Rate | None:
        """Share of the samples it ran on that it broke, with the exact interval; None if it ran on none, or nobody counted."""
        return Rate.of(self.broken, self.attacked) if self.attacked else None
