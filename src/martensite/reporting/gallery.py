"""The gallery: clean input, perturbation and adversarial side by side, as images inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from PIL import Image
from torch import Tensor

from martensite.evaluation.examples import Pair

SIDE = 104  # pixels that a picture gets at least, so that small ones look crisp
LARGEST = 160  # pixels of the longer side at most; larger pictures are shrunk
BUDGET = 256 * 1024  # characters of all pictures together: the page stays under 2 MiB


@dataclass(frozen=True)
class Triple:
    """A pair as pictures: data URIs of PNG files."""

    pair: Pair
    clean: str
    perturbation: str
    adversarial: str


@dataclass(frozen=True)
class Gallery:
    """The triples that fit.

    Attributes:
        triples: In the order of the pairs.
        factor: How much the perturbation is amplified, the same for all of them.
        left_out: Pairs that had no room.
    """

    triples: tuple[Triple, ...]
    factor: float
    left_out: int

    @property
    def models(self) -> list[str]:
        """Whose predictions are shown, where the pairs say so."""
        return sorted({triple.pair.model for triple in self.triples} - {""})


def gallery(pairs: Sequence[Pair], box: tuple[float, float]) -> Gallery | None:
    """Draw pairs; None if none of them is a picture (1 or 3 channels)."""
    pictures = [pair for pair in pairs if _is_picture(pair.clean) and pair.clean.shape == pair.adversarial.shape]
    if not pictures:
        return None
    width = box[1] - box[0]
    largest = max(float((pair.adversarial - pair.clean).abs().max()) for pair in pictures) / width
    factor = 0.5 / largest if largest > 0 else 1.0
    triples: list[Triple] = []
    room = BUDGET
    for pair in pictures:
        change = 0.5 + factor * (pair.adversarial - pair.clean) / width
        drawn = [_png(image) for image in ((pair.clean - box[0]) / width, change, (pair.adversarial - box[0]) / width)]
        room -= sum(len(image) for image in drawn)
        if room < 0:
            break
        triples.append(Triple(pair, *drawn))
    return Gallery(tuple(triples), factor, len(pictures) - len(triples)) if triples else None


def _is_picture(x: Tensor) -> bool:
    return x.ndim == 3 and x.shape[0] in (1, 3) and min(x.shape[1:]) > 1


def _png(image: Tensor) -> str:
    """A (C, H, W) image in [0, 1] as a data URI; small ones enlarged by a whole factor, pixel by pixel."""
    levels = (image.detach().cpu().float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    channels, height, width = levels.shape
    mode = "L" if channels == 1 else "RGB"
    picture = Image.frombytes(mode, (width, height), levels.permute(1, 2, 0).contiguous().numpy().tobytes())
    if (scale := ceil(SIDE / max(height, width))) > 1:
        picture = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
