"""Images in a folder for each class."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.split import check_split, part

# Raster formats that Pillow decodes by itself; others, such as EPS, would start programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = ("L", "RGB")


def load_image_folder(folder: Path, split: str = "all") -> Dataset:
    """x (n, 1, H, W) of grey or (n, 3, H, W) of colour images, divided by 255, split 0.7, 0.1, 0.2.

    Args:
        folder: Its subfolders are the classes, numbered by their sorted names; the images in each are taken by sorted name.
            Hidden files, and files that are no images by their suffix, are passed over.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.

    Raises:
        DataError: fewer than two class folders, one without images, an image that can't be decoded, that isn't 8-bit grey
            or RGB, or that has another size or mode than the first.
    """
    check_split(split)
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise DataError(
            f"{folder} has {len(classes)} subfolders",
            "it holds a subfolder of images for each of at least 2 classes",
            "sort the images into folders named after their classes",
        )
    images: list[npt.NDArray[np.uint8]] = []
    y: list[int] = []
    for k, entry in enumerate(classes):
        paths = _images(entry)
        for path in paths:
            images.append(_pixels(path, images[0] if images else None))
        y += [k] * len(paths)
    x = torch.from_numpy(np.stack(images)).to(torch.float32).div_(255.0)
    x = x.unsqueeze(1) if x.dim() == 3 else x.permute(0, 3, 1, 2)
    names = tuple(entry.name for entry in classes)
    return part(Dataset(x, torch.tensor(y), len(names), folder.resolve().name, class_names=names), split)


def _images(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
    if not paths:
        remedy = f"give every class at least one image, or remove the folder; suffixes: {', '.join(SUFFIXES)}"
        raise DataError(f"{folder} holds no image", "every subfolder is a class with its images in it", remedy)
    return paths


def _pixels(path: Path, first: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3), of the shape of the first image."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} can't be decoded: {error}", "it is no image, or truncated or corrupted", "replace it") from None
    if mode not in MODES:
        raise DataError(
            f"{path} has the mode {mode}", "images are 8-bit grey (L) or RGB", "convert it, e.g. image.convert('RGB')"
        )
    if first is not None and pixels.shape != first.shape:
        raise DataError(
            f"{path} is {_shown(pixels)}",
            f"the first image is {_shown(first)}, and all must be alike",
            "resize or convert the images to one size and mode",
        )
    return pixels


def _shown(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]} {'grey' if pixels.ndim == 2 else 'RGB'}"
