"""What every augmentation owes, and what each promises."""

import pytest
import torch

from martensite.core.errors import DataError
from martensite.core.rng import streams
from martensite.data import Dataset
from martensite.models import build
from martensite.training import TrainingSettings, fit
from martensite.training.augmentations import AUGMENTATIONS, Crop, Cutout, Flip
from martensite.training.objectives import Standard

BOX = (0.0, 1.0)
every_augmentation = pytest.mark.parametrize("cls", list(AUGMENTATIONS), ids=AUGMENTATIONS.names())


@pytest.fixture
def x():
    """64 images in which no two pixels are equal."""
    return (torch.arange(64 * 2 * 6 * 5, dtype=torch.float32) + 1).view(64, 2, 6, 5) / (64 * 60 + 1)


@every_augmentation
def test_shape_box_and_the_given_images_are_kept(cls, x):
    before = x.clone()
    changed = cls().apply(x, streams(0, "test", len(x)), BOX)
    assert torch.equal(x, before)
    assert changed.shape == x.shape
    assert changed.is_contiguous()
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed, x)


@every_augmentation
def test_an_image_is_changed_by_its_own_stream_whatever_the_batch(cls, x):
    whole = cls().apply(x, streams(0, "test", len(x)), BOX)
    rows = torch.tensor([5, 3, 60])
    assert torch.equal(cls().apply(x[rows], streams(0, "test", rows), BOX), whole[rows])
    assert not torch.equal(cls().apply(x, streams(1, "test", len(x)), BOX), whole)


@every_augmentation
def test_what_is_filled_in_is_the_lowest_value_of_the_box(cls, x):
    changed = cls().apply(x, streams(0, "test", len(x)), (-1.0, 1.0))
    assert set(changed.flatten().tolist()) <= {*x.flatten().tolist(), -1.0}


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_occurs(x):
    x = x[:1].expand(2000, -1, -1, -1)
    cropped = Crop(padding=1).apply(x, streams(0, "test", len(x)), BOX)
    padded = torch.nn.functional.pad(x[0], [1, 1, 1, 1])
    windows = [padded[:, top : top + 6, left : left + 5] for top in range(3) for left in range(3)]
    counts = [int((cropped == window).flatten(1).all(1).sum()) for window in windows]
    assert sum(counts) == 2000
    assert min(counts) > 2000 / 9 - 6 * (2000 * 8 / 81) ** 0.5  # six standard deviations of a fair count


def test_a_flip_mirrors_left_to_right(x):
    assert torch.equal(Flip(chance=1.0).apply(x, streams(0, "test", 64), BOX), x.flip(3))
    assert torch.equal(Flip(chance=0.0).apply(x, streams(0, "test", 64), BOX), x)
    flipped = Flip().apply(x, streams(0, "test", 64), BOX)
    assert all(torch.equal(one, other) or torch.equal(one, other.flip(2)) for one, other in zip(flipped, x, strict=True))


def test_a_cutout_is_one_square_in_all_channels(x):
    hole = Cutout(size=3).apply(x, streams(0, "test", 64), BOX) == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    sizes = set()
    for image in hole[:, 0]:
        rows, columns = image.any(1), image.any(0)
        assert torch.equal(image, rows[:, None] & columns[None, :])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert (3, 3) in sizes  # a whole one
    assert sizes <= {(high, wide) for high in (2, 3) for wide in (2, 3)}  # it may stick out by one


def test_training_uses_them_and_tables_are_refused(tools, data, validation):
    rng = torch.Generator().manual_seed(0)
    images = Dataset(torch.rand(40, 1, 6, 6, generator=rng), torch.arange(40) % 2, 2)
    held = Dataset(torch.rand(20, 1, 6, 6, generator=rng), torch.arange(20) % 2, 2)
    model = build({"kind": "small_cnn", "width": 2}, images.shape, 2)
    plain, augmented = (
        fit(model, images, held, Standard(), TrainingSettings(epochs=1, augment=augment))
        for augment in ((), (Crop(padding=1), Cutout(size=2)))
    )
    assert plain.history[0].loss != augmented.history[0].loss
    with pytest.raises(DataError, match="for images"):
        fit(tools.make_model(), data, validation, Standard(), TrainingSettings(epochs=1, augment=("flip",)))
