"""Ramp: an adversary that grows with training.

A curriculum from weak to strong attacks eases the first epochs (Cai et al. 2018, "Curriculum adversarial training",
arXiv:1805.04807, for steps; Gowal et al. 2018, arXiv:1810.12715, sec. 4, for a linear ramp of eps).
"""

from pydantic import Field

from martensite.core.config import Config


class Ramp(Config):
    """Linear growth of eps and of the attack's steps; an attack's ``step_size`` stays as given (None: it follows both).

    Args:
        until: Fraction of training, in (0, 1], after which the adversary has its full strength.
        eps_from: Share of eps to start with, in [0, 1].
        steps_from: Share of the attack's steps to start with, in [0, 1]; at least one step is taken.
    """

    until: float = Field(default=0.5, gt=0.0, le=1.0)
    eps_from: float = Field(default=0.0, ge=0.0, le=1.0)
    steps_from: float = Field(default=1.0, ge=0.0, le=1.0)

    def eps_at(self, done: float) -> float:
        """Share of eps, in (0, 1], when this fraction of training is done."""
        return max(self._grown(self.eps_from, done), 1e-6)  # an eps of zero is no threat model

    def steps_at(self, done: float) -> float:
        """Share of the steps when this fraction of training is done."""
        return self._grown(self.steps_from, done)

    def _grown(self, start: float, done: float) -> float:
        return min(1.0, start + (1.0 - start) * done / self.until)
