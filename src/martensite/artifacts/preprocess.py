"""preprocess.json: how raw inputs become what the model takes, so that serving does what training did."""

from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import interpolate

from martensite.core.config import Config
from martensite.core.errors import ConfigError, DataError
from martensite.threat.ball import Box

PREPROCESS = "preprocess.json"
LARGEST = 1 << 20  # bytes


class Preprocess(Config):
    """Resizing, and the map from raw levels onto the model's box.

    Attributes:
        size: Height and width that images are resized to; None: they stay as they are.
        interpolation: How; with antialiasing where it shrinks, but for ``nearest``.
        levels: The raw values that become the ends of the box.
    """

    size: tuple[PositiveInt, PositiveInt] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    levels: tuple[float, float] = (0.0, 255.0)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.levels[0] < self.levels[1]:
            raise ConfigError(f"levels is {self.levels}", "the lower must be below the upper", "e.g. [0, 255]")
        return self

    def apply(self, raw: Tensor, box: Box) -> Tensor:
        """Inputs for the model.

        Args:
            raw: (n, *d) of any type; images are (n, channels, height, width).
            box: The model's.

        Returns:
            float32, clipped to the box.

        Raises:
            DataError: images are to be resized and these are none.
        """
        x = raw.to(torch.float32)
        if self.size is not None:
            if x.dim() != 4:
                raise DataError(f"inputs of shape {tuple(raw.shape)}", "images (n, channels, height, width) are resized")
            smooth = self.interpolation != "nearest"
            x = interpolate(x, self.size, mode=self.interpolation, antialias=smooth, align_corners=False if smooth else None)
        low, high = self.levels
        return ((x - low) / (high - low) * (box[1] - box[0]) + box[0]).clamp(*box)
