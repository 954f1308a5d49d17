"""Input validation: what a model is asked about at all, checked before any number of it is used."""

from math import prod
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import DataError
from martensite.models import Classifier
from martensite.threat import Constraints, violations
from martensite.threat.ball import Box

KINDS = "fiub"  # numpy's kinds of real numbers


class InputRules(Config):
    """Rules for a batch, and for each row of it.

    Args:
        shape: Of one input.
        box: Lowest and highest valid value.
        rows: Most rows of a batch.
        size: Most numbers of a batch.
        table: For tables: ranges, whole numbers, one-hot groups and relations of the columns, in original units where ``units``
            is given; what it says of an adversary (``fixed``) is no rule for inputs.
    """

    shape: tuple[PositiveInt, ...]
    box: Box = (0.0, 1.0)
    rows: PositiveInt = 1024
    size: PositiveInt = 2**26
    table: Constraints | None = None

    @classmethod
    def of(cls, model: Classifier, shape: tuple[int, ...], table: Constraints | None = None) -> "InputRules":
        """Those of a model."""
        return cls(shape=shape, box=model.box, table=table)

    def check(self, batch: Any) -> Tensor:
        """Refuse a batch as a whole.

        Args:
            batch: Array or tensor, (n, *shape), of real numbers.

        Returns:
            float32 (n, *shape); its values aren't looked at, see `refusals`.

        Raises:
            DataError: another type or shape, none or too many rows.
        """
        shape, kind = tuple(getattr(batch, "shape", ())), _kind(batch)
        if kind not in KINDS:
            raise DataError(f"the batch holds {kind!r}", "inputs are real numbers", "send floats, integers or booleans")
        if shape[1:] != self.shape or not shape:
            raise DataError(f"the batch has shape {shape}", f"(n, {', '.join(map(str, self.shape))}) is needed", "send it so")
        if not 0 < shape[0] <= self.rows:
            raise DataError(f"the batch has {shape[0]} rows", f"1 to {self.rows} are taken at a time", "send fewer at a time")
        if prod(shape) > self.size:
            raise DataError(f"the batch has {prod(shape)} numbers", f"at most {self.size} are taken", "send fewer at a time")
        if not isinstance(batch, Tensor):
            with np.errstate(over="ignore"):
                batch = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
        return torch.Tensor.to(batch, torch.float32)

    def refusals(self, x: Tensor) -> tuple[str | None, ...]:
        """For each row (n, *shape) why it can't be answered, or None."""
        flat = x.detach().flatten(1).double().cpu()
        reasons: list[str | None] = [None] * len(flat)
        checks = [("it holds NaN or infinity", ~flat.isfinite().all(1))]
        low, high = (torch.tensor(end, dtype=x.dtype).double() for end in self.box)  # in the inputs' precision, as checks have it
        outside = (flat < low) | (flat > high)
        checks.append((f"a value lies outside [{self.box[0]:g}, {self.box[1]:g}]", outside.any(1)))
        if self.table is not None:
            safe = flat.nan_to_num(self.box[0], self.box[1], self.box[0]).to(x.dtype).view(x.shape)
            checks += [(f"it breaks the rule {one.rule}", one.broken) for one in violations(safe, safe, self.table, self.box)]
        for reason, broken in checks:
            for row in broken.nonzero().flatten().tolist():
                reasons[row] = reasons[row] or reason
        return tuple(reasons)


def _kind(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return "c" if batch.is_complex() else "f" if batch.is_floating_point() else "i"
    kind = getattr(getattr(batch, "dtype", None), "kind", None)
    return str(kind) if kind is not None else type(batch).__name__
