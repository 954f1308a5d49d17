"""Randomized smoothing: the class that wins under Gaussian noise is certified within an L2 radius.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918, Theorem 1 and
the procedure CERTIFY of sec. 3.2.2.
"""

import time
from math import inf, log
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.stats import beta, norm
from torch import Tensor

from martensite.certification.certifier import ABSTAIN, CERTIFIERS, Certificates, Certifier
from martensite.core.errors import ConfigError
from martensite.core.events import Event, Listener
from martensite.core.rng import generator
from martensite.models import Classifier, check_logits
from martensite.threat import ThreatModel

FURTHEST = 6.0  # sigmas; to certify a longer radius would take over a billion samples
BLOCK = 1000  # noisy copies a pass; fixed, because torch draws normals differently in other block sizes


@CERTIFIERS.register
class Smoothing(Certifier):
    """Gaussian smoothing with a fixed number of samples.

    The guarantee is about the smoothed classifier (the majority class under noise), not about a single pass of the network, and
    each certificate is wrong with probability at most ``alpha`` over its own noise.

    Args:
        sigma: Standard deviation of the noise, in input units.
        n: Samples for the estimate.
        selection: Samples, independent of those, that choose the class to certify.
        alpha: Chance that a certificate is wrong, in (0, 1).
    """

    kind: Literal["smoothing"] = "smoothing"
    sigma: PositiveFloat
    n: PositiveInt = 10_000
    selection: PositiveInt = 100
    alpha: float = Field(default=0.001, gt=0.0, lt=1.0)

    def certify(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel | None,
        radius: float | None,
        indices: Tensor,
        seed: int,
        listener: Listener,
    ) -> Certificates:
        """CERTIFY for each sample: guess the class, bound its probability from below, turn the bound into a radius."""
        self._check(radius)
        started = time.perf_counter()
        radii, classes = torch.zeros(len(x), dtype=torch.float64), torch.full((len(x),), ABSTAIN)
        for row, index in enumerate(indices.tolist()):
            guess = int(self._counts(model, x[row], self.selection, generator(seed, "certify/select", index)).argmax())
            count = int(self._counts(model, x[row], self.n, generator(seed, "certify/estimate", index))[guess])
            reached = self.radius(count, self.n)
            if radius is not None:
                reached = radius if reached >= radius else 0.0
            if reached > 0:
                radii[row], classes[row] = reached, guess
            right = int(((classes == y.cpu()) & (radii > 0)).sum())
            listener(Event("certify", row + 1, len(x), "sample", {"certified": right / (row + 1)}))
        abstained = classes == ABSTAIN
        return Certificates(
            radii,
            classes,
            abstained,
            torch.full((len(x),), self.selection + self.n),
            (classes == y.cpu()) & ~abstained,
            "l2",
            time.perf_counter() - started,
        )

    def radius(self, count: int, n: int) -> float:
        """sigma * Phi^-1(p), p the one-sided Clopper-Pearson lower bound; 0 (abstain) where p <= 1/2."""
        rest = float(beta.isf(self.alpha, n - count + 1, count)) if count else 1.0  # 1 - p, exact also where p is next to 1
        return self.sigma * float(norm.isf(rest)) if rest < 0.5 else 0.0

    def least_n(self, radius: float) -> int:
        """The least n at which all samples agreeing certify this radius: alpha ** (1 / n) >= Phi(radius / sigma).

        Args:
            radius: 0: any radius at all.

        Raises:
            ConfigError: the radius is beyond what a number of samples that can be spent certifies.
        """
        if radius > FURTHEST * self.sigma:
            raise ConfigError(
                f"radius is {radius:g} at sigma {self.sigma:g}",
                f"beyond {FURTHEST:g} sigma a certificate takes over a billion samples",
                "give a larger sigma or a shorter radius",
            )
        n = max(1, int(log(self.alpha) / float(norm.logcdf(radius / self.sigma))) - 1)
        while not self._certifies(n, radius):  # the quotient is rounded, and a power of 1/2 still abstains
            n += 1
        return n

    def _check(self, radius: float | None) -> None:
        if radius is not None and not 0 < radius < inf:
            raise ConfigError(
                f"radius is {radius:g}", "a radius to certify is positive and finite", "leave it out for the largest one"
            )
        wanted = 0.0 if radius is None else radius
        if not self._certifies(self.n, wanted):
            raise ConfigError(
                f"n is {self.n} at alpha {self.alpha:g} and sigma {self.sigma:g}",
                f"no number of agreeing samples can certify radius {wanted:g}",
                f"give n of at least {self.least_n(wanted)}",
            )

    def _certifies(self, n: int, radius: float) -> bool:
        """Whether n agreeing samples certify the radius."""
        return self.radius(n, n) >= radius and self.radius(n, n) > 0

    def _counts(self, model: Classifier, x: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """int64 (K,) how often each class wins over n noisy copies of x (*d)."""
        counts = torch.zeros(model.classes, dtype=torch.int64)
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            noise = torch.randn(size, *x.shape, generator=rng).to(x)
            logits = check_logits(model(noise.mul_(self.sigma).add_(x)), size, model.classes)
            counts += logits.argmax(1).bincount(minlength=model.classes).cpu()
        return counts
