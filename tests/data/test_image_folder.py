"""Folders of images: real files, written and read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from martensite.core.errors import DataError
from martensite.data import load_data

RNG = np.random.default_rng(0)


def write(path: Path, shape: tuple[int, ...] = (5, 4), mode: str | None = None) -> np.ndarray:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    (image.convert(mode) if mode else image).save(path)
    return pixels


def test_grey_images_by_sorted_class_and_name(tmp_path: Path) -> None:
    second, first = write(tmp_path / "dog" / "b.bmp"), write(tmp_path / "cat" / "z.png")
    third = write(tmp_path / "dog" / "c.PGM")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    data = load_data(tmp_path)
    assert (data.shape, data.class_names, data.y.tolist()) == ((1, 5, 4), ("cat", "dog"), [0, 1, 1])
    assert torch.equal(data.x[:, 0], torch.from_numpy(np.stack([first, second, third])).float() / 255)
    assert (data.name, data.split) == (tmp_path.name, "all")


def test_colour_images_have_channels_first(tmp_path: Path) -> None:
    pixels = [write(tmp_path / name / "1.png", (5, 4, 3)) for name in ("a", "b")]
    data = load_data(tmp_path)
    assert data.shape == (3, 5, 4)
    assert torch.equal(data.x, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255)


def test_jpegs_are_read_and_parts_are_stratified(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for k in range(10):
            write(tmp_path / name / f"{k}.jpg", (8, 8, 3))
    assert [torch.bincount(load_data(tmp_path, s).y).tolist() for s in ("train", "validation", "test")] == [
        [7, 7],
        [1, 1],
        [2, 2],
    ]


def test_the_digest_does_not_depend_on_the_format(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "one" / name / "1.png")
        target = tmp_path / "two" / name / "1.bmp"
        target.parent.mkdir(parents=True)
        with Image.open(tmp_path / "one" / name / "1.png") as image:
            image.save(target)
    assert load_data(tmp_path / "one").digest == load_data(tmp_path / "two").digest


@pytest.mark.parametrize(
    ("shape", "mode", "message"),
    [
        ((4, 5), None, "is 5 x 4 grey. the first image is 4 x 5 grey"),
        ((5, 4, 3), None, "is 4 x 5 RGB"),
        ((5, 4, 4), None, "has the mode RGBA"),
        ((5, 4), "1", "has the mode 1"),
        ((5, 4), "I;16", "has the mode I;16"),
        ((5, 4, 3), "P", "has the mode P"),
    ],
)
def test_an_image_unlike_the_others_is_named(tmp_path: Path, shape: tuple[int, ...], mode: str, message: str) -> None:
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "b" / "2.png", shape, mode)
    with pytest.raises(DataError, match=message) as caught:
        load_data(tmp_path)
    assert str(tmp_path / "b" / "2.png") in caught.value.value


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "script"])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "a" / "1.png", (30, 30))
    write(tmp_path / "b" / "2.png", (30, 30))
    path = tmp_path / "b" / "2.png"
    whole = path.read_bytes()
    content = {"empty": b"", "text": b"text", "truncated": whole[: len(whole) // 2], "script": b"%!PS-Adobe-3.0 EPSF-3.0\n"}
    path.write_bytes(content[damage])
    with pytest.raises(DataError, match="can't be decoded") as caught:
        load_data(tmp_path)
    assert str(path) in caught.value.value


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    with pytest.raises(DataError, match="has 0 subfolders"):
        load_data(tmp_path)
    write(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="has 1 subfolders"):
        load_data(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        load_data(tmp_path)
