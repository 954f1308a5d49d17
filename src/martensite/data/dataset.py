"""Inputs with labels, and the digest that names them in every report."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from martensite.data.checks import check_inputs, check_labels
from martensite.threat.ball import Box


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled inputs, checked when they are made.

    Attributes:
        x: float32 (n, *d), in the box.
        y: int64 (n,), in 0..classes-1.
        classes: Number of classes K.
        name: Where it came from, e.g. ``"digits"``.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.
        box: Lowest and highest valid input value.
        class_names: One name a class; digits of the class number if the source has none.

    Raises:
        DataError: empty, NaN or infinite, outside the box, a label out of range.
    """

    x: Tensor
    y: Tensor
    classes: int
    name: str = "data"
    split: str = "all"
    box: Box = (0.0, 1.0)
    class_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        check_inputs(self.x, self.box)
        check_labels(self.y, len(self.x), self.classes)
        object.__setattr__(self, "x", self.x.detach().to(torch.float32).contiguous())
        object.__setattr__(self, "y", self.y.to(torch.int64).contiguous())
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(str(k) for k in range(self.classes)))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.x.shape[1:])

    @cached_property
    def digest(self) -> str:
        """``"sha256:..."`` of shape, inputs and labels: the same samples in the same order have the same digest anywhere."""
        hasher = hashlib.sha256(f"martensite-data-1 {tuple(self.x.shape)} {self.classes} ".encode())
        hasher.update(self.x.numpy().astype("<f4", copy=False).data)  # contiguous; hashed where it lies
        hasher.update(self.y.numpy().astype("<i8", copy=False).data)
        return "sha256:" + hasher.hexdigest()

    def subset(self, index: Tensor | slice, split: str | None = None) -> "Dataset":
        """The samples at these positions, in this order."""
        return Dataset(
            self.x[index],
            self.y[index],
            self.classes,
            self.name,
            self.split if split is None else split,
            self.box,
            self.class_names,
        )
