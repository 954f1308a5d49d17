"""What valid inputs and labels are. The commonest mistake everywhere is a tensor that was normalised already: it stops here."""

import torch
from torch import Tensor

from martensite.core.errors import DataError
from martensite.threat.ball import Box


def check_inputs(x: Tensor, box: Box) -> None:
    """Refuse inputs that no attack or measurement could mean anything on.

    Args:
        x: (n, *d), floating point.
        box: Lowest and highest valid value.

    Raises:
        DataError: not a floating-point tensor (n, *d), empty, NaN or infinite, outside the box.
    """
    if not isinstance(x, Tensor):
        raise DataError(f"x is {type(x).__name__}", "a torch tensor (n, *d) is needed", "torch.as_tensor(array) makes one")
    if x.dim() < 2 or x.numel() == 0:
        raise DataError(
            f"x has shape {tuple(x.shape)}",
            "inputs are (n, *d) with n >= 1",
            "give at least one sample with its batch axis",
        )
    if not x.is_floating_point():
        raise DataError(
            f"x is {x.dtype}",
            f"inputs are floating point, in the box [{box[0]:g}, {box[1]:g}]",
            "for 8-bit images give x.float() / 255",
        )
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if not (low - low == 0 and high - high == 0):  # NaN or infinite: aminmax propagates both
        bad = int((~x.isfinite()).flatten(1).any(1).sum())
        raise DataError(
            f"x holds NaN or infinity in {bad} of {len(x)} samples",
            "inputs must be finite",
            "drop or repair those samples",
        )
    if bool((x < box[0]).any() or (x > box[1]).any()):  # in x's own precision, where the end of [0, 0.3] can be reached
        hint = (
            "divide 8-bit values by 255"
            if low >= 0 and high <= 255 and high > 1.5
            else ("give raw inputs and let the Classifier normalise inside, by mean= and std=")
        )
        raise DataError(
            f"x ranges over [{low:.4g}, {high:.4g}], outside the box [{box[0]:g}, {box[1]:g}]",
            "eps is in input units, so inputs must be what the box says, not normalised",
            f"{hint}, or state another box=",
        )


def check_labels(y: Tensor, n: int, classes: int) -> None:
    """Refuse labels that don't fit the inputs or the classes.

    Raises:
        DataError: not integers (n,), or outside 0..classes-1.
    """
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        kind = str(y.dtype) if isinstance(y, Tensor) else type(y).__name__
        raise DataError(f"y is {kind}", "labels are an integer tensor (n,)", "give class numbers, e.g. y.long()")
    if tuple(y.shape) != (n,):
        raise DataError(
            f"y has shape {tuple(y.shape)} for {n} inputs",
            f"({n},) is needed: one label an input",
            "give class numbers, not one-hot rows",
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"labels range over {low}..{high} with {classes} classes",
            f"labels must lie in 0..{classes - 1}",
            "renumber the labels from 0, or build the model with more classes",
        )
