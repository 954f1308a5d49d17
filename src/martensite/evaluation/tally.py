"""What is known of every sample, as the pieces of an evaluation come in."""

from collections.abc import Iterable
from copy import copy

import torch
from torch import Tensor

from martensite.attacks import Attack
from martensite.attacks.trace import Trace
from martensite.attacks.trust import gradient_warning
from martensite.evaluation.fit import Job
from martensite.evaluation.report import AttackRow, Outcome, Rate
from martensite.evaluation.work import COUNTS, Measured
from martensite.models.access import Access


class JobTally:
    """One job's outcomes over n samples.

    Attributes:
        ran: (n,) bool: it was run on them.
        correct, broken, error, distance, confidence: (n,) as in `Measured`; infinite distance where it was not run.
        counts: Sums of forwards, backwards, rejected, flat and seen.
        seconds: Wall time of all pieces.
        messages: What went wrong.
        traces: Loss over steps by search; of an ensemble, one a member that climbs.
    """

    def __init__(self, job: Job, n: int) -> None:
        self.job = job
        self.ran, self.correct, self.broken, self.error = (torch.zeros(n, dtype=torch.bool) for _ in range(4))
        self.distance = torch.full((n,), torch.inf, dtype=torch.float64)
        self.confidence = torch.full((n,), torch.nan)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.seconds = 0.0
        self.messages: list[str] = []
        self.traces: dict[tuple[str, str, int], Trace] = {}

    def take(self, rows: Tensor, piece: Measured) -> None:
        """Add a piece."""
        self.ran[rows] = True
        self.correct[rows], self.broken[rows] = piece.correct, piece.broken
        self.error[rows], self.distance[rows] = piece.error, piece.distance
        self.confidence[rows] = piece.confidence
        for name in COUNTS:
            self.counts[name] += getattr(piece, name)
        self.seconds += piece.seconds
        self.messages += piece.messages
        searches = [(one.name, one.loss) for one in piece.traces]
        for place, one in enumerate(piece.traces):
            key = (*searches[place], searches[:place].count(searches[place]))  # an ensemble may have two of one name
            self.traces[key] = self.traces[key] + one if key in self.traces else one

    def part(self, rows: Tensor | slice) -> "JobTally":
        """The same of some of the samples; costs are those of the whole."""
        part = copy(self)
        for name in ("ran", "correct", "broken", "error", "distance", "confidence"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    @property
    def robust(self) -> Tensor:
        """(n,) bool: correct, attacked without error, and still correct."""
        return self.ran & self.correct & ~self.broken & ~self.error

    @property
    def method(self) -> Attack:
        """The attack."""
        return self.job.method


class Tally:
    """All jobs' outcomes; what is not of the ball (see `Attack.ball`) stands beside them.

    Attributes:
        own: The suite's attacks in its order.
        curve: The points of the security curve that were measured on their own.
        norms: Searches for the nearest in other norms.
    """

    def __init__(self, n: int, jobs: Iterable[Job]) -> None:
        self.n = n
        self.own: list[JobTally] = []
        self.curve: list[JobTally] = []
        self.norms: list[JobTally] = []
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Make room for further jobs, in the suite's order."""
        for job in jobs:
            {"curve": self.curve, "norm": self.norms}.get(job.role, self.own).append(JobTally(job, self.n))

    def part(self, rows: Tensor | slice) -> "Tally":
        """The same of some of the samples: int64 positions, a mask (n,), or a slice."""
        part = Tally(len(torch.arange(self.n)[rows]), ())
        part.own, part.curve, part.norms = ([one.part(rows) for one in all_] for all_ in (self.own, self.curve, self.norms))
        return part

    def confidence(self, clean: Tensor) -> Tensor:
        """(n,) the model's confidence in what it predicts under attack; ``clean`` (n,) where no attack was run.

        Of a broken sample at the adversarial that broke it first, of a robust one at the last attempt.
        """
        found, open_ = clean.clone(), torch.ones(self.n, dtype=torch.bool)
        for one in self.judging:
            tried = open_ & one.ran & self.correct & ~one.confidence.isnan()
            found = torch.where(tried, one.confidence.to(found), found)
            open_ &= ~one.broken
        return found

    def holds(self, job: Job) -> bool:
        """Whether there is room for that job."""
        return any(tally.job is job for tally in (*self.own, *self.curve, *self.norms))

    def of(self, job: Job) -> JobTally:
        """That job's."""
        return next(tally for tally in (*self.own, *self.curve, *self.norms) if tally.job is job)

    @property
    def known(self) -> Tensor:
        """(n,) bool: the model answered about the clean input when some attack began."""
        return torch.stack([tally.ran & (tally.correct | ~tally.error) for tally in self.own]).any(0)

    @property
    def correct(self) -> Tensor:
        """(n,) bool, without an attack, by the first job whose question about the clean input was answered."""
        found, known = (torch.zeros(self.n, dtype=torch.bool) for _ in range(2))
        for tally in self.own:
            told = tally.ran & (tally.correct | ~tally.error) & ~known
            found |= told & tally.correct
            known |= told
        return found

    @property
    def judging(self) -> list[JobTally]:
        """The attacks that count for the threat model."""
        return [tally for tally in self.own if tally.method.ball]

    @property
    def broken(self) -> Tensor:
        """(n,) bool: some attack of the suite broke it."""
        found = torch.zeros(self.n, dtype=torch.bool)
        for tally in self._breaking:
            found |= tally.broken
        return found & self.correct

    @property
    def _breaking(self) -> list[JobTally]:
        """What found adversarials within eps: a point of the curve below eps is evidence as well."""
        return [*self.judging, *(tally for tally in self.curve if tally.job.multiple < 1.0 and tally.method.ball)]

    @property
    def error(self) -> Tensor:
        """(n,) bool: the clean input got no answer, or some attack could not be run on it and none broke it."""
        found = torch.zeros(self.n, dtype=torch.bool)
        for tally in self.judging:
            found |= tally.error
        return (found & self.correct & ~self.broken) | ~self.known

    @property
    def nearest(self) -> Tensor:
        """(n,) float64 distance of the nearest adversarial that anything found; infinite if nothing did, 0 if misclassified."""
        found = torch.full((self.n,), torch.inf, dtype=torch.float64)
        for tally in (*self.judging, *self.curve):
            # Success was judged within float32's rounding of eps: beyond it no distance is reported for it.
            capped = torch.where(tally.broken, tally.distance.clamp(max=tally.job.threat.eps), tally.distance)
            found = torch.minimum(found, capped)
        return torch.where(self.correct | ~self.known, found, 0.0)

    def outcomes(self) -> tuple[Outcome, ...]:
        """One a sample."""
        flags = zip(self.correct.tolist(), self.broken.tolist(), self.error.tolist(), strict=True)
        return tuple(_outcome(*sample) for sample in flags)

    def broken_by(self) -> tuple[str | None, ...]:
        """The first attack that broke each."""
        names: list[str | None] = [None] * self.n
        for tally in reversed(self._breaking):
            point = "" if tally.job.role != "curve" else f" at eps {tally.job.threat.eps:.4g}"
            for place in (tally.broken & self.correct).nonzero().flatten().tolist():
                names[place] = tally.job.name + point
        return tuple(names)

    def accuracy_at(self, eps: float) -> int:
        """Samples correct at that eps as far as anything knows: no adversarial nearer, and measured there without error."""
        holds = self.correct & (self.nearest > eps)
        for tally in self.curve:
            if tally.job.threat.eps == eps:
                holds &= tally.robust
        return int(holds.sum())

    def rows(self) -> tuple[AttackRow, ...]:
        """The table of attacks."""
        left, made = self.correct.clone(), []
        for tally in self.own:
            alone = tally.robust if tally.job.role == "all" else left & (tally.robust | ~tally.ran)
            if tally.method.ball:
                left = left & (tally.robust | ~tally.ran)
            made.append(
                AttackRow(
                    name=tally.job.name,
                    attack=tally.method.model_dump(mode="json"),
                    robust_accuracy=Rate.of(int(alone.sum()), self.n),
                    broken=int((tally.broken & self.correct).sum()),
                    errors=int(tally.error.sum()),
                    forwards=tally.counts["forwards"],
                    backwards=tally.counts["backwards"],
                    rejected=tally.counts["rejected"],
                    scope="all" if tally.job.role == "all" else "survivors",
                    attacked=int((tally.ran & self.correct).sum()),
                    in_threat=tally.method.ball,
                    surrogate=tally.job.surrogate,
                )
            )
        return tuple(made)

    def warnings(self) -> tuple[str, ...]:
        """Failures, and gradients that vanish."""
        found: list[str] = []
        for tally in (*self.own, *self.curve, *self.norms):
            found += tally.messages
            if tally.method.needs >= Access.GRADIENTS and tally.job.surrogate is None:
                found += gradient_warning(tally.method.kind, tally.counts["flat"], tally.counts["seen"])
        return tuple(dict.fromkeys(found))

    def faults(self) -> tuple[str, ...]:
        """Candidates that the verifier refused: faults of attacks, which make the report no evidence."""
        return tuple(
            f"{tally.job.name} at eps {tally.job.threat.eps:.4g}: the verifier rejected {tally.counts['rejected']} of its "
            "candidates, which lay outside what the threat model allows; that is a fault of the attack, and says nothing about "
            "the model"
            for tally in (*self.own, *self.curve, *self.norms)
            if tally.counts["rejected"]
        )


def _outcome(correct: bool, broken: bool, error: bool) -> Outcome:
    if correct:
        return "broken" if broken else "error" if error else "robust"
    return "error" if error else "misclassified"
