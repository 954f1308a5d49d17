"""A budget for each sample of a batch: those whose share is spent leave the search, and the others never notice.

An attack that asks about its whole batch at once goes on asking about all of it. Who can't afford a question is left out of it,
at no cost, and told what a model says that knows nothing: logits and gradients of zero. What was found for it is set aside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from martensite.attacks.losses import Loss
from martensite.attacks.oracle import Oracle
from martensite.core.errors import BudgetError

Answer = TypeVar("Answer")


class Rationed(Oracle):
    """An oracle over one batch of another one, under a budget a sample. All else (counts, places) is the other oracle's.

    Args:
        base: It has begun the batch.

    Raises:
        BudgetError: from a question, once no sample of the batch can afford any, or where the whole run's budget is spent.
    """

    # In the instance's own dictionary, since what is set goes to the other oracle.
    _base: Oracle
    _out: Tensor
    _aside: Tensor
    _outer: Tensor | None

    def __init__(self, base: Oracle) -> None:
        n = len(base.found)
        out = torch.zeros(n, dtype=torch.bool, device=base.found.device)
        self.__dict__.update(_base=base, _out=out, _aside=base.found.clone(), _outer=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_base"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._base, name, value)

    def settled(self, candidate: Tensor) -> Tensor:
        """The attack's candidates (n, *d), and of the samples that left what was found until then."""
        return torch.where(self._out.view(-1, *[1] * (candidate.dim() - 1)), self._aside.to(candidate), candidate)

    @contextmanager
    def among(self, group: Tensor) -> Iterator[None]:
        """See `Oracle.among`."""
        outer = self._outer
        self.__dict__["_outer"] = self._base.found if outer is None else outer
        try:
            with self._base.among(group):
                yield
        finally:
            self.__dict__["_outer"] = outer

    def exhausted(self, rows: Tensor) -> Tensor:
        """See `Oracle.exhausted`."""
        return self._base.exhausted(rows) | self._out[self.about(rows)]

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.logits`."""
        return self._points(self._base.logits, x, rows)

    def labels(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.labels`."""
        return self._points(self._base.labels, x, rows)

    def ballot(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.ballot`."""
        return self._points(self._base.ballot, x, rows)

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        rows: Tensor | None = None,
        through: Callable[[Tensor], Tensor] | None = None,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Oracle.gradient`."""

        def ask(some: Tensor | None, each: Tensor) -> tuple[Tensor, Tensor]:
            if some is None:
                return self._base.gradient(x, loss, rows, through, view)
            parts = [None if one is None else _among(one, some, len(x)) for one in (through, view)]
            logits, gradient = self._base.gradient(x[some], _among(loss, some, len(x)), each, *parts)
            return _spread(logits, some, len(x)), _spread(gradient, some, len(x))

        return self._ask(ask, x, rows)

    def jacobian(self, x: Tensor, functions: Loss, rows: Tensor | None = None) -> tuple[Tensor, Iterator[Tensor]]:
        """See `Oracle.jacobian`."""

        def ask(some: Tensor | None, each: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
            if some is None:
                return self._base.jacobian(x, functions, rows)
            logits, gradients = self._base.jacobian(x[some], _among(functions, some, len(x)), each)
            return _spread(logits, some, len(x)), (_spread(gradient, some, len(x)) for gradient in gradients)

        return self._ask(ask, x, rows)

    def _points(self, question: Callable[..., Tensor], x: Tensor, rows: Tensor | None) -> Tensor:
        def ask(some: Tensor | None, each: Tensor) -> Tensor:
            return question(x, rows) if some is None else _spread(question(x[some], each), some, len(x))

        return self._ask(ask, x, rows)

    def _ask(self, ask: Callable[[Tensor | None, Tensor], Answer], x: Tensor, rows: Tensor | None) -> Answer:
        """Ask about the points of x whose samples can afford it; None stands for all of them."""
        given = self._base.places if rows is None else rows
        if given is None:
            given = torch.arange(len(self._base.found), device=x.device)
        each = given.repeat(len(x) // max(len(given), 1))
        while True:
            about: Tensor = self._base.about(each)  # type: ignore[assignment]  # rows were given
            self._leave(self._base.account.short(about[~self._out[about]]))
            if bool(self._out.all()):
                self._base.account.refused = True
                raise BudgetError("what each sample of the batch may cost is spent")
            some = (~self._out[about]).nonzero().squeeze(1)
            try:
                return ask(None if len(some) == len(x) else some, each[some])
            except BudgetError:
                if self._base.account.run_spent or not self._base.account.refused:
                    raise  # not a sample's; whose time ran out since leaves in the next turn

    def _leave(self, short: Tensor) -> None:
        """Set aside what is found for samples (n,) bool that leave now."""
        found = self._base.found if self._outer is None else self._outer
        new = short & ~self._out
        self._aside[new] = found[new].to(self._aside)
        self._out[new] = True


def _spread(values: Tensor, some: Tensor, n: int) -> Tensor:
    """(n, ...) zero but for ``values`` (k, ...) at the rows ``some`` (k,)."""
    return values.new_zeros(n, *values.shape[1:]).index_copy(0, some, values)


def _among(function: Callable[[Tensor], Tensor], some: Tensor, n: int) -> Callable[[Tensor], Tensor]:
    """A function of a whole batch (n, ...), row by row, as one of its rows ``some`` alone."""
    return lambda values: function(_spread(values, some, n))[some]
