"""Certification by sampling: what all kinds of random smoothing share, whatever their noise.

A class is guessed; its chance of winning under noise is bounded from below on other samples, or tested; and a theorem about the
noise turns that into a radius. The guess is fixed before the first sample of the estimate and shares none with it: it is the
model's answer to the clean input, or the winner of a selection sample.
"""

import time
from math import log, log1p
from typing import Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.special import betainccinv
from torch import Tensor

from martensite.certification.anytime import anytime_design
from martensite.certification.cache import design, digest
from martensite.certification.certifier import ABSTAIN, CertificateRecord, Certificates, Certifier, Job
from martensite.certification.design import Design, fixed_design
from martensite.certification.journal import Journal, Tally
from martensite.certification.plan import Plan
from martensite.certification.pool import Pool
from martensite.core.errors import ConfigError
from martensite.core.events import Event
from martensite.core.files import sha256
from martensite.models import Classifier, check_logits
from martensite.models.digest import model_digest

MOST = 10**9  # samples that anybody will ever spend on an input
ROUNDED = 1.0 - 1e-13  # a rate under test is rounded down: far more than scipy's error, and far less than anyone sees


class Sampled(Certifier):
    """Base of the methods that sample noise.

    Args:
        n: Most samples of the estimate for one input.
        alpha: Chance that the certificate of an input is wrong, in (0, 1).
        test: ``"sequential"``: looks at growing counts and stops when the matter is decided; as sure as ``"fixed"``, which takes
            all n samples and the Clopper-Pearson bound, as papers do. ``"anytime"``: looks without end, n may be raised later.
            ``"two_sided"``: n samples and a bound for every class, alpha split among them.
        selection: Samples, independent of those, that choose the class to certify; 0: the model's answer to the clean input.
        radii: The rising radii to tell apart where none is asked for; None: a grid, or with ``"fixed"`` and ``"two_sided"`` any.
    """

    n: PositiveInt = 100_000
    alpha: float = Field(default=0.001, gt=0.0, lt=1.0)
    test: Literal["sequential", "fixed", "anytime", "two_sided"] = "sequential"
    selection: NonNegativeInt = 0
    radii: tuple[PositiveFloat, ...] | None = None

    # What a kind of noise defines.

    def noisy(self, x: Tensor, out: Tensor, rng: torch.Generator) -> None:
        """Fill ``out`` (n, *d) with noisy copies of an input (*d); both are on the CPU, as ``rng`` is."""
        raise NotImplementedError(f"{type(self).__name__} must define noisy()")

    def miss_rate(self, radius: float, shape: tuple[int, ...]) -> float:
        """The rate of misses below which the radius is certified, rounded down; not positive if no rate does.

        Args:
            radius: In the method's norm; 0: where any radius at all begins.
            shape: Of one input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define miss_rate()")

    def reach(self, miss: float, rival: float, shape: tuple[int, ...]) -> float:
        """The radius certified, 0 for none, if the class misses at most at one rate and no rival wins at more than another."""
        raise NotImplementedError(f"{type(self).__name__} must define reach()")

    def grid(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """The radii told apart by default."""
        raise NotImplementedError(f"{type(self).__name__} must define grid()")

    def measure(self) -> str:
        """The norm of the radii."""
        raise NotImplementedError(f"{type(self).__name__} must define measure()")

    def check_inputs(self, x: Tensor) -> None:
        """Refuse inputs (n, *d) that the noise can't be applied to."""

    # What follows from it.

    def certify(self, model: Classifier, x: Tensor, y: Tensor, job: Job) -> Certificates:
        """Guess, sample, conclude, for each input."""
        started = time.perf_counter()
        self.check_inputs(x)
        shape = tuple(x.shape[1:])
        radii = self._radii(job.radius, shape)
        designs = self._designs(radii, shape)
        guesses = self._guesses(model, x, job)
        radius, right, seen = torch.zeros(len(x), dtype=torch.float64), 0, 0

        def conclude(place: int, tally: Tally) -> None:
            nonlocal right, seen
            if designs:
                radius[place] = radii[tally.level - 1] if tally.level else 0.0
            else:
                radius[place] = self._bound(tally.counts, guesses[place], job.radius, shape)
            seen, right = seen + 1, right + int(radius[place] > 0 and guesses[place] == int(y[place]))
            job.listener(Event("certify", seen, len(x), "sample", {"certified": right / seen}))

        journal = None if job.store is None else Journal(job.store, self._title(model, x, job))
        plan = Plan(designs, self.n)
        pool = Pool(model, x, job.indices, self.noisy, plan, job.seed, "certify/estimate", job.batch_size)
        try:
            tallies = pool.run(guesses, journal, conclude)
        finally:
            if journal is not None:
                journal.close()
        abstained = radius == 0
        prediction = torch.where(abstained, ABSTAIN, torch.tensor(guesses))
        samples = torch.tensor([tally.samples for tally in tallies])
        hits = torch.tensor([tally.counts[guess] for tally, guess in zip(tallies, guesses, strict=True)])
        record = CertificateRecord(
            method=self.model_dump(mode="json"),
            seed=job.seed,
            radius=job.radius,
            radii=radii,
            design=digest(designs) if designs else None,
            spent=max((one.spent for one in designs), default=self.alpha),
            dtype=str(model.dtype).removeprefix("torch."),
            model_digest=model_digest(model),
        )
        correct, seconds = (prediction == y) & ~abstained, time.perf_counter() - started
        spent = samples + max(self.selection, 1)
        return Certificates(
            radius, prediction, abstained, spent, correct, self.measure(), seconds, hits.double() / samples, record
        )

    def least_n(self, radius: float = 0.0, shape: tuple[int, ...] = (1,)) -> int:
        """The least n at which all samples agreeing certify this radius.

        Raises:
            ConfigError: the radius is beyond what a number of samples that can be spent certifies.
        """
        q = self.miss_rate(radius, shape)
        n = max(1, int(log(self.alpha) / log1p(-q)) - 1) if q > 0 else MOST
        if n >= MOST:
            raise ConfigError(
                f"radius is {radius:g} with {self.described()}",
                "a certificate would take over a billion samples, or none would do",
                "give a larger sigma (more noise) or a shorter radius",
            )
        maker = anytime_design if self.test == "anytime" else fixed_design
        step = 1
        while maker(q, self.alpha, n).reject[-1] < 0:  # the quotient is rounded, and betting takes more
            n += step
            step = max(1, n // 50) if self.test == "anytime" else 1
        return n

    def described(self) -> str:
        """The noise, for messages."""
        given = self.model_dump(mode="json", exclude={"kind", "n", "alpha", "test", "selection", "radii"}, exclude_defaults=True)
        return ", ".join(f"{name} {value}" for name, value in given.items())

    def _radii(self, radius: float | None, shape: tuple[int, ...]) -> tuple[float, ...]:
        """The radii to test; none where the answer is a continuous bound.

        Raises:
            ConfigError: n can't certify one of them.
        """
        bounded = self.test in ("fixed", "two_sided")
        if self.radii is not None and (self.test == "two_sided" or list(self.radii) != sorted(set(self.radii))):
            raise ConfigError(
                f"radii is {self.radii} with test {self.test!r}",
                "radii rise, and two-sided bounds give any radius",
                "sort them, or leave them out",
            )
        if radius is None and self.radii is None and not bounded:
            found = tuple(r for r in self.grid(shape) if self._possible(r, shape))
            if found:
                return found
            self._refuse(self.grid(shape)[0], shape)
        asked = (radius,) if radius is not None else self.radii or ()
        for one in asked or (0.0,):
            if not self._possible(one, shape):
                self._refuse(one, shape)
        return () if self.test == "two_sided" else asked

    def _possible(self, radius: float, shape: tuple[int, ...]) -> bool:
        """Whether n agreeing samples certify the radius."""
        q = self.miss_rate(radius, shape)
        if q <= 0:
            return False
        maker = anytime_design if self.test == "anytime" else fixed_design
        return maker(q, self.alpha, self.n).reject[-1] >= 0

    def _refuse(self, radius: float, shape: tuple[int, ...]) -> None:
        least = self.least_n(radius, shape)
        raise ConfigError(
            f"n is {self.n} at alpha {self.alpha:g} and {self.described()}",
            f"no number of agreeing samples can certify radius {radius:g}",
            f"give n of at least {least}",
        )

    def _designs(self, radii: tuple[float, ...], shape: tuple[int, ...]) -> tuple[Design, ...]:
        if self.test == "two_sided":
            return ()
        return tuple(design(self.test, self.miss_rate(radius, shape), self.alpha, self.n) for radius in radii)

    def _guesses(self, model: Classifier, x: Tensor, job: Job) -> list[int]:
        if not self.selection:
            parts = [check_logits(model(part.clone()), len(part), model.classes) for part in torch.split(x, job.batch_size)]
            return [int(guess) for guess in torch.cat(parts).argmax(1)]
        plan = Plan((), self.selection)
        pool = Pool(model, x, job.indices, self.noisy, plan, job.seed, "certify/select", job.batch_size)
        tallies = pool.run([0] * len(x), None, lambda place, tally: None)
        return [tally.counts.index(max(tally.counts)) for tally in tallies]

    def _bound(self, counts: tuple[int, ...], guess: int, radius: float | None, shape: tuple[int, ...]) -> float:
        """The radius that n samples prove: by Clopper and Pearson's bound, one-sided, or on every class at once."""
        n, hits = sum(counts), counts[guess]
        level = self.alpha if self.test == "fixed" else self.alpha / len(counts)
        miss = rival = upper(n - hits, n, level)
        if self.test == "two_sided":
            rival = min(miss, max(upper(count, n, level) for label, count in enumerate(counts) if label != guess))
        reached = self.reach(miss, rival, shape)
        if radius is not None:
            return radius if reached >= radius else 0.0
        return reached

    def _title(self, model: Classifier, x: Tensor, job: Job) -> dict[str, object]:
        data = b"".join(part.cpu().contiguous().numpy().tobytes() for part in (x, job.indices.to(torch.int64)))
        return {
            "method": self.model_dump(mode="json"),
            "model": model_digest(model),
            "layers": str(model.net),
            "data": sha256(data),
            "seed": job.seed,
            "radius": job.radius,
            "dtype": str(model.dtype),
        }


def upper(count: int, n: int, alpha: float) -> float:
    """One-sided Clopper-Pearson: a rate that lies below the true one with probability at most alpha. Rounded up."""
    return 1.0 if count == n else min(1.0, float(betainccinv(count + 1, n - count, alpha)) * (1.0 + 1e-12))
