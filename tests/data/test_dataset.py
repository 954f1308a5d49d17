"""A dataset is checked when it is made, and its digest is its samples."""

import dataclasses

import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import Dataset


def made(**changes):
    generator = torch.Generator().manual_seed(0)
    parts = {"x": torch.rand(6, 1, 2, 3, generator=generator), "y": torch.tensor([0, 1, 2, 0, 1, 2]), "classes": 3}
    return Dataset(**{**parts, **changes})


def test_what_it_says_of_itself():
    data = made(name="toy", split="test")
    assert len(data) == 6
    assert data.shape == (1, 2, 3)
    assert (data.x.dtype, data.y.dtype) == (torch.float32, torch.int64)
    assert data.class_names == ("0", "1", "2")
    assert made(class_names=("a", "b", "c")).class_names == ("a", "b", "c")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_any_float_and_any_integer_become_the_promised_types(dtype):
    data = made(x=made().x.to(dtype), y=made().y.to(torch.uint8))
    assert (data.x.dtype, data.y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.rand(6)}, "shape"),
        ({"x": torch.rand(6, 4) + 1}, "outside the box"),
        ({"x": torch.full((6, 4), float("nan"))}, "NaN"),
        ({"x": torch.rand(0, 4), "y": torch.zeros(0, dtype=torch.long)}, "n >= 1"),
        ({"y": torch.tensor([0, 1])}, "for 6 inputs"),
        ({"classes": 2}, "with 2 classes"),
        ({"y": torch.zeros(6)}, "integer"),
    ],
)
def test_bad_samples_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        made(**changes)


def test_its_box_is_its_own():
    assert made(x=torch.full((6, 4), -0.5), box=(-1, 1)).box == (-1, 1)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().x = torch.zeros(1, 1)


def test_the_digest_is_of_the_samples_alone():
    digest = made().digest
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64
    assert made(name="other", split="test", class_names=("a", "b", "c")).digest == digest
    assert made(x=made().x.double(), y=made().y.to(torch.int32)).digest == digest
    strided = made().x.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert not strided.is_contiguous()
    assert made(x=strided).digest == digest


def test_the_digest_sees_every_change():
    data = made()
    nudged = data.x.clone()
    nudged[3, 0, 1, 2] = torch.nextafter(nudged[3, 0, 1, 2], torch.tensor(0.0))
    others = [
        made(x=nudged),
        made(y=torch.tensor([0, 1, 2, 0, 1, 1])),
        made(classes=4),
        made(x=data.x.view(6, 1, 3, 2)),
        made(x=data.x.flatten(1)),
        data.subset(slice(0, 5)),
        data.subset(torch.tensor([1, 0, 2, 3, 4, 5])),
    ]
    assert len({data.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_the_digest_is_the_same_on_every_machine():
    data = Dataset(torch.tensor([[0.0, 0.5], [1.0, 0.25]]), torch.tensor([0, 1]), 2)
    # sha256(b"martensite-data-1 (2, 2) 2 " + four little-endian float32 + two little-endian int64)
    assert data.digest == "sha256:cba8d7879899d7f78fcda7c1b9634dcd7e2b5a62130ac0703eb4315f84c5b66d"


def test_a_subset_is_those_samples_in_that_order():
    data = made(name="toy", split="train", class_names=("a", "b", "c"))
    index = torch.tensor([4, 0])
    part = data.subset(index, split="validation")
    assert torch.equal(part.x, data.x[index])
    assert part.y.tolist() == [1, 0]
    assert (part.name, part.split, part.classes, part.class_names) == ("toy", "validation", 3, ("a", "b", "c"))
    assert data.subset(slice(1, 3)).split == "train"
    assert len(data.subset(data.y == 0)) == 2
    assert data.subset(slice(None)).digest == data.digest


def test_an_empty_subset_is_refused():
    with pytest.raises(DataError, match="n >= 1"):
        made().subset(slice(0, 0))
