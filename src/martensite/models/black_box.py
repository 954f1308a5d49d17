"""A Python callable as a model: scores or decisions, no gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from martensite.core.errors import AccessError, MartensiteError, ModelError, QueryError
from martensite.models.access import Access
from martensite.models.classifier import check_logits
from martensite.threat.ball import Box

Predict = Callable[[npt.NDArray[np.float32]], Any]


class BlackBox:
    """Anything that answers for a numpy array of inputs; it satisfies `Model`.

    Args:
        predict: Takes float32 (n, *d), its own copy; returns scores (n, K) or, for ``DECISIONS``, class numbers (n,).
        classes: K >= 2.
        box: Lowest and highest valid input value.
        access: ``Access.SCORES`` or ``Access.DECISIONS``.
        shape: Shape of one input, without the batch; None: any.
        digest: What recognises the model again, such as the digest of its file; None: nothing does, so no run can be resumed.
        defended: Names of the defences in front of it, where they are known: figures then need an attack adapted to them.

    Raises:
        AccessError: gradients are promised, which a callable doesn't have.
        ModelError: fewer than two classes, an empty box; when called, an input or an output of the wrong shape or type.
        QueryError: when called, if the callable raises.
    """

    def __init__(
        self,
        predict: Predict,
        classes: int,
        box: Box = (0.0, 1.0),
        access: Access = Access.SCORES,
        shape: Sequence[int] | None = None,
        digest: str | None = None,
        defended: Sequence[str] = (),
    ) -> None:
        if access not in (Access.SCORES, Access.DECISIONS):
            raise AccessError(
                f"access is {access!r}",
                "a callable gives scores or decisions, never gradients",
                "wrap a torch module in Classifier",
            )
        if not isinstance(classes, int) or classes < 2:
            raise ModelError(f"classes is {classes!r}", "a classifier has at least 2 classes", "give classes=K")
        if not box[0] < box[1]:
            raise ModelError(f"box is {tuple(box)}", "its lower end must be below its upper end", "e.g. box=(0, 1)")
        self.predict = predict
        self.classes = classes
        self.box: Box = (float(box[0]), float(box[1]))
        self.access = Access(access)
        self.shape = None if shape is None else tuple(shape)
        self.digest, self.defended = digest, tuple(defended)
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (n, K), or one-hot decisions, float32, for x (n, *d) in the box."""
        if self.shape is not None and tuple(x.shape[1:]) != self.shape:
            raise ModelError(
                f"the model was given inputs of shape {tuple(x.shape[1:])}",
                f"it takes {self.shape}",
                "check the input's shape",
            )
        output = np.asarray(self._asked(x))
        if self.access == Access.DECISIONS:
            return F.one_hot(self._decisions(output, len(x)), self.classes).to(self.dtype)
        return self._scores(output, len(x))

    def _asked(self, x: Tensor) -> Any:
        try:
            # A copy: a callable that normalises in place must not reach the caller's tensor.
            return self.predict(x.detach().to("cpu", self.dtype).numpy().copy())
        except (MartensiteError, MemoryError):
            raise
        except Exception as error:  # theirs: what a service, a library or a socket raises, nobody can list
            raise QueryError(
                f"the model's callable raised {type(error).__name__}: {error}",
                "a failed query is no answer",
                "mend the callable, or what it asks",
            ) from error

    def _scores(self, output: npt.NDArray[Any], n: int) -> Tensor:
        if output.dtype.kind not in "fiub":
            raise ModelError(
                f"the model returns {output.dtype}",
                f"scores ({n}, {self.classes}) are numbers",
                "return the scores only",
            )
        if output.shape == (n,) and output.dtype.kind in "iu":
            raise ModelError(
                f"the model returns one integer for each of {n} inputs",
                f"scores ({n}, {self.classes}) are needed",
                "state access=Access.DECISIONS for a model that returns class numbers",
            )
        # astype copies, so the callable may reuse its buffer; what float32 can't hold becomes infinite and is refused.
        with np.errstate(over="ignore"):
            scores = torch.from_numpy(output.astype(np.float32 if output.dtype.kind == "f" else np.int64))
        return check_logits(scores, n, self.classes)

    def _decisions(self, output: npt.NDArray[Any], n: int) -> Tensor:
        if output.shape != (n,) or output.dtype.kind not in "iu":
            raise ModelError(
                f"the model returns {output.dtype} of shape {output.shape} for {n} inputs",
                f"decisions are integers ({n},): one class number an input",
                "return scores.argmax(1), or state access=Access.SCORES for a model that returns scores",
            )
        if output.size and not (int(output.min()) >= 0 and int(output.max()) < self.classes):
            raise ModelError(
                f"the model returns class numbers {output.min()}..{output.max()} with {self.classes} classes",
                f"they must lie in 0..{self.classes - 1}",
                "check classes=, and number the classes from 0",
            )
        return torch.from_numpy(output.astype(np.int64))
