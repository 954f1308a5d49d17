"""JPEG: the image written and read again by a real codec.

Das et al. 2017, "Keeping the bad guys out: protecting and vaccinating deep learning with JPEG compression", arXiv:1705.02900;
Guo et al. 2018, arXiv:1711.00117. Attacks through a differentiable stand-in break it: Shin and Song 2017, "JPEG-resistant
adversarial images", NIPS MLSec workshop.
"""

from io import BytesIO
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from martensite.core.errors import ModelError
from martensite.core.rng import Streams
from martensite.defenses.soft_jpeg import soft_jpeg
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box

LEVELS = 255


@TRANSFORMS.register
class JPEG(Transform):
    """libjpeg by Pillow: three channels as a colour image, chroma at half the resolution; any other number each as a grey one.

    Args:
        quality: 1 to 100, as libjpeg has it.
    """

    kind: Literal["jpeg"] = "jpeg"
    quality: int = Field(default=75, ge=1, le=100)

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`; rounds to 8 bits on the way."""
        low, width = box[0], box[1] - box[0]
        pixels = ((x.detach() - low) / width * LEVELS).round().clamp(0, LEVELS).to(torch.uint8).cpu().numpy()
        if pixels.shape[1] == 3:
            made = np.stack([self._reread(one.transpose(1, 2, 0)).transpose(2, 0, 1) for one in pixels])
        else:
            made = np.stack([[self._reread(channel) for channel in one] for one in pixels])
        return (torch.from_numpy(made).to(x) / LEVELS * width + low).clamp(*box)

    def surrogate(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """The same steps with a rounding that has a slope; see `soft_jpeg`."""
        low, width = box[0], box[1] - box[0]
        return soft_jpeg((x - low) / width * LEVELS, self.quality) / LEVELS * width + low

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Also that the format can hold the image."""
        super().check_shape(shape)
        if max(shape[1:]) > 65500:
            raise ModelError(f"jpeg was given images of {shape}", "a side has at most 65500 pixels", "leave it out")

    def _reread(
        self, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return np.array(Image.open(file))
