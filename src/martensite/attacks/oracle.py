"""Counted access to a model: the only way an attack reaches it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from martensite.attacks.account import Account
from martensite.attacks.budget import Budget, Ledger
from martensite.attacks.half import through_half
from martensite.attacks.losses import Loss
from martensite.attacks.passes import Passes, widened
from martensite.attacks.slopes import Slopes
from martensite.attacks.trace import Recorder
from martensite.core.errors import AccessError
from martensite.models.access import Access, Model
from martensite.models.classifier import check_logits
from martensite.models.windows import Known, known
from martensite.threat import Repair


class Oracle:
    """Answers an attack's questions, and counts them: one pass is one sample through the model once.

    Under constraints it answers at the admissible input next to the one that was asked about (see `Repair`), and its gradients
    are those of the model composed with that step: an attack respects the constraints without knowing of them.

    Args:
        model: The model under attack.
        until_broken: True: a sample's search may end at its first success. False: searches run their full course, as
            adversarial training wants.
        precision: Of the passes; the logits come back in float32 or wider.
        ledger: The run's budget and what is spent of it; a question beyond it raises `BudgetError`. None: no limits.

    Attributes:
        forwards: Forward passes so far, times samples.
        backwards: Backward passes so far, times samples.
        discarded: Passes of either kind, times samples, that were made ahead of need and taken back (see `withdraw`), or for the
            activations of points (see `known`); they are in no other count.
        account: What is spent on each sample of the batch that `begin` started.
        places: (m,) the samples of the batch that questions are about; None: all of them.
        found: (n, *d) the best points so far, should the budget end the search.
        claimed: (n,) bool: samples whose search ended in what it took for a success.
        slopes: What the gradients are like.
        passes: How points go through the model.
        recorder: Notes the loss of every gradient that is asked for; None: nobody does.
    """

    def __init__(
        self,
        model: Model,
        until_broken: bool = True,
        precision: Literal["float32", "bfloat16"] = "float32",
        ledger: Ledger | None = None,
    ) -> None:
        self.model, self.until_broken = model, until_broken
        self.passes, self._ledger = Passes(model, precision), ledger or Ledger()
        self.forwards = self.backwards = self.discarded = 0
        self.slopes = Slopes()
        self.recorder: Recorder | None = None
        self.begin(torch.zeros(0, device=model.device))

    def begin(
        self, x: Tensor, queries: Tensor | None = None, seconds: Tensor | None = None, repair: Repair | None = None, room: int = 0
    ) -> None:
        """Take up a batch.

        Args:
            x: (n, *d) clean inputs.
            queries: int64 (n,) what each sample's budget has lost to earlier searches; None: nothing.
            seconds: float64 (n,) likewise.
            repair: Makes points admissible that start from these inputs; None: there are no constraints.
            room: How many points a pass may hold; see `spare`.
        """
        self._clean, self._repair, self._room = x, repair, room
        self._group: Tensor | None = None
        self.account = Account(self._ledger, len(x), x.device, queries, seconds)
        self.slopes.begin(x)
        self.claimed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.places: Tensor | None = None
        self.found = x
        if self.recorder is not None:
            self.recorder.begin(len(x), x.device)

    def admissible(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """The points (n, *d) that are answered about instead of x; x itself without constraints. Arguments as in `logits`."""
        return x if self._repair is None else self._repair(x, self._origins(len(x), rows))

    def claim(self, places: Tensor) -> None:
        """Note that the search takes these samples of the batch for broken."""
        if len(self.claimed):
            self.claimed[self.about(places)] = True

    @contextmanager
    def among(self, group: Tensor) -> Iterator[None]:
        """Inside the block the batch is the samples ``group`` (m,) of it alone, each as often as it is named there.

        Rows and places count among them, and ``found`` is what is found for them. Blocks nest.
        """
        outer = self._group, self.places, self.found
        self._group, self.places = group if self._group is None else self._group[group], None
        try:
            yield
        finally:
            self._group, self.places, self.found = outer

    def about(self, rows: Tensor | None) -> Tensor | None:
        """The samples of the whole batch that a question is about; None: all of them."""
        about = self.places if rows is None else rows
        if self._group is None:
            return about
        return self._group if about is None else self._group[about]

    @property
    def spare(self) -> int:
        """How many points a pass may hold, where questions may be asked ahead of need to fill it; 0 where each has its price.

        So it has to a black box, and under a budget of queries or time. What turns out not to be needed is to be withdrawn.
        """
        limits = self._ledger.budget.model_copy(update={"stop_below": None})
        free = isinstance(self.model, nn.Module) and self.model.access >= Access.GRADIENTS
        return self._room if free and limits == Budget() else 0

    def withdraw(self, rows: Tensor, forwards: Tensor, backwards: Tensor) -> None:
        """Take back what was asked ahead and wasn't needed, so that the counts are those of one question after the other.

        Args:
            rows: (k,) samples of the batch, each as often as may be.
            forwards: int64 (k,) forward passes on each.
            backwards: int64 (k,) backward passes.
        """
        places = rows if self._group is None else self._group[rows]
        passes = int(forwards.sum()), int(backwards.sum())
        self.account.refund(places, forwards)
        self.forwards, self.backwards = self.forwards - passes[0], self.backwards - passes[1]
        self.discarded += sum(passes)

    def exhausted(self, rows: Tensor) -> Tensor:
        """(m,) bool: of the samples ``rows``, those whose queries or time are spent."""
        places = self.about(rows)
        return (self.account.affords(1)[places] < 1) | self.account.overdue[places]

    def affords(self, queries: int) -> Tensor:
        """int64 (n,) so many queries, or what is left to each sample of the batch."""
        affords = self.account.affords(queries)
        return affords if self._group is None else affords[self._group]

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (n, K), float32 or wider, without a gradient.

        Args:
            x: One point a sample, or several rounds of them: (rounds * m, *d), a whole round after the other.
            rows: (m,) the samples of the batch that x is about; None: ``places``.

        Raises:
            AccessError: the model grants decisions only.
        """
        if self.model.access < Access.SCORES:
            raise AccessError("scores were asked of a model that grants decisions", "it answers with labels only", "use `labels`")
        self._count(len(x), rows)
        with self.passes.cast(len(x)):
            return widened(self.passes.answers(self.admissible(x, rows)))

    def known(self, x: Tensor, sides: tuple[int, int], windows: int = 1) -> Known | None:
        """Points x (m, *d) that were answered about, for `near` to answer what so many windows of these sides change.

        None where whole passes are as good, under constraints, in half precision, and where answers aren't the model's own.
        """
        if type(self) is not Oracle or self._repair is not None or self.passes.halved:
            return None
        with self.passes.cast(len(x)), torch.random.fork_rng(devices=[]):
            found = known(self.model, x, sides, windows)
            self.discarded += 3 * len(x) if found else 0
            return found if found and found.agrees(x, sides) else None

    def near(self, about: Known, rows: Tensor, places: Tensor, sides: tuple[int, int], values: Tensor, samples: Tensor) -> Tensor:
        """As `logits`, of known points with windows changed: see `Known.logits`; ``samples`` (k,) are those that they are of."""
        self._count(len(rows), samples)
        with self.passes.cast(len(rows)):
            return widened(check_logits(about.logits(rows, places, sides, values), len(rows), self.model.classes))

    def labels(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """The class (n,) int64 that the model decides for, whatever access it grants.

        In the model's own precision: near a boundary, where decision-based attacks ask, another one answers another question.

        Args:
            x: As in `logits`.
            rows: As in `logits`; or (n,) the sample that each point of x is about, as often as that may be.
        """
        self._count(len(x), rows)
        return self.passes.answers(self.admissible(x, rows)).argmax(1)

    def ballot(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (n, K), or decisions one-hot where the model grants no more: for the judge, and for whoever takes what there is.

        In the model's own precision. Arguments as in `logits`.
        """
        self._count(len(x), rows)
        return widened(self.passes.answers(self.admissible(x, rows)))

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        rows: Tensor | None = None,
        through: Callable[[Tensor], Tensor] | None = None,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, K) at x, and the gradient (n, *d) of ``loss(logits)``, sample by sample, with respect to x.

        Args:
            x: As in `logits`.
            loss: Logits (n, K) to one number a sample.
            rows: As in `logits`.
            through: Makes the inputs from x, differentiably, where x is something else; the gradient is with respect to x.
            view: A differentiable change of how the model is shown an input, such as a smaller scale; it needn't be admissible.

        Raises:
            AccessError: the model has no gradient to offer.
        """
        self._refuse_black_box()
        self._count(len(x), rows)
        self.backwards += len(x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            shown = self._shown(leaf if through is None else through(leaf), rows)
            shown = shown if view is None else view(shown)
            with self.passes.cast(len(x)):
                logits = self.passes.show(shown)
            logits = widened(logits)
            # Samples don't interact in evaluation mode, so the gradient of the sum holds every sample's own.
            if self.passes.dtype == torch.float16:
                gradient = through_half(loss, logits, leaf)
            else:
                (gradient,) = torch.autograd.grad(loss(logits).sum(), leaf)
        gradient = self.slopes.mend(gradient)
        if self.slopes.fresh:
            self.slopes.look(gradient, loss(logits.detach()))
        if self.recorder is not None:
            self.recorder.note(self.about(rows), loss(logits.detach()))
        return check_logits(logits.detach(), len(x), self.model.classes), gradient.contiguous()

    def jacobian(self, x: Tensor, functions: Loss, rows: Tensor | None = None) -> tuple[Tensor, Iterator[Tensor]]:
        """Logits (n, K) at x, and the gradients of several functions of the logits, from one forward pass.

        Args:
            x: As in `logits`.
            functions: Logits (n, K) to (n, m), m numbers a sample, e.g. the gaps between m classes and the right one.
            rows: As in `logits`.

        Returns:
            The logits, and m gradients (n, *d), one a backward pass: each is made, and counted, when it is asked for, so that
            what is never asked for costs nothing and no two need be in memory at once.

        Raises:
            AccessError: the model has no gradient to offer.
        """
        self._refuse_black_box()
        self._count(len(x), rows)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            with self.passes.cast(len(x)):
                logits = self.passes.show(self._shown(leaf, rows))
            logits = widened(logits)
            each = functions(logits)
            values = each.sum(0)

        def gradients() -> Iterator[Tensor]:
            for place in range(len(values)):
                self.backwards += len(x)
                gradient = self.slopes.mend(torch.autograd.grad(values[place], leaf, retain_graph=place + 1 < len(values))[0])
                if self.slopes.fresh:
                    self.slopes.look(gradient, each[:, place].detach())
                yield gradient

        return check_logits(logits.detach(), len(x), self.model.classes), gradients()

    def _shown(self, x: Tensor, rows: Tensor | None) -> Tensor:
        return x if self._repair is None else self._repair.through(x, self._origins(len(x), rows))

    def _origins(self, n: int, rows: Tensor | None) -> Tensor:
        """(n, *d) the clean inputs that n points in question were made from."""
        about = self.about(rows)
        clean = self._clean if about is None else self._clean[about]
        return clean if n == len(clean) else clean.repeat(n // max(len(clean), 1), *[1] * (clean.dim() - 1))

    def _refuse_black_box(self) -> None:
        if self.model.access < Access.GRADIENTS:
            raise AccessError("a gradient was asked of a black box", "it offers scores or labels only", "use a query attack")

    def _count(self, n: int, rows: Tensor | None) -> None:
        self.account.charge(n, self.about(rows))
        self.forwards += n
