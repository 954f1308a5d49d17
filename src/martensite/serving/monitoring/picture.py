"""An input as a picture inside a page."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

LARGEST = 112  # pixels of the longer side; a larger picture is shrunk


def picture(x: npt.NDArray[np.float32], box: tuple[float, float]) -> str:
    """PNG as a data URI.

    Args:
        x: (C, H, W) in the box, C 1 or 3; anything else is no picture.
        box: Black and white.

    Returns:
        ``""`` where it is no picture.
    """
    if x.ndim != 3 or x.shape[0] not in (1, 3) or min(x.shape[1:]) < 2:
        return ""
    levels = np.rint((np.nan_to_num(x) - box[0]) / (box[1] - box[0]) * 255).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
