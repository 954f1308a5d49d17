"""What no measurement could mean anything on is refused, with the remedy."""

import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import check_inputs, check_labels

BOX = (0.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 4, 4), (2, 3, 1, 4, 4)])
def test_inputs_in_the_box_pass(dtype, shape):
    x = torch.rand(shape).to(dtype)
    x.view(-1)[0], x.view(-1)[-1] = 0.0, 1.0
    check_inputs(x, BOX)
    check_inputs(x.requires_grad_(), BOX)
    check_inputs(x * 2 - 1, (-1, 1))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.5]], "x is list.*torch.as_tensor"),
        (torch.tensor(0.5), r"shape \(\)"),
        (torch.rand(5), r"shape \(5,\).*batch axis"),
        (torch.rand(0, 5), r"shape \(0, 5\)"),
        (torch.rand(5, 0), r"shape \(5, 0\)"),
        (torch.zeros(2, 3, dtype=torch.uint8), r"x is torch.uint8.*x.float\(\) / 255"),
        (torch.zeros(2, 3, dtype=torch.bool), "x is torch.bool"),
        (torch.zeros(2, 3, dtype=torch.complex64), "x is torch.complex64"),
    ],
)
def test_what_is_no_batch_of_inputs(x, message):
    with pytest.raises(DataError, match=message):
        check_inputs(x, BOX)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_is_not_finite_is_counted(value, dtype):
    x = torch.full((4, 2, 3), 0.5, dtype=dtype)
    x[1, 0, 2] = x[1, 1, 0] = x[3, 0, 0] = value
    with pytest.raises(DataError, match="NaN or infinity in 2 of 4 samples"):
        check_inputs(x, BOX)


def test_a_normalised_tensor_is_told_the_remedy():
    x = (torch.rand(10, 1, 4, 4) - 0.1307) / 0.3081
    with pytest.raises(DataError, match=r"outside the box \[0, 1\].*not normalised.*normalise inside, by mean= and std="):
        check_inputs(x, BOX)


def test_8_bit_values_are_told_the_remedy():
    with pytest.raises(DataError, match=r"ranges over \[0, 255\].*divide 8-bit values by 255"):
        check_inputs(torch.tensor([[0.0, 255.0]]), BOX)
    check_inputs(torch.tensor([[0.0, 255.0]]), (0, 255))


@pytest.mark.parametrize("value", [-1e-6, 1 + 1e-6, 1.4])
def test_the_box_is_meant_to_the_last_bit(value):
    with pytest.raises(DataError, match="outside the box"):
        check_inputs(torch.tensor([[0.5, value]], dtype=torch.float64), BOX)


@pytest.mark.parametrize(
    ("box", "dtype"),
    [
        ((0.0, 0.3), torch.float32),
        ((-2.1179, 2.64), torch.float32),
        ((0.1, 0.7), torch.float32),
        ((0.0, 0.3), torch.float64),
        ((-2.1179, 2.64), torch.float64),
    ],
)
def test_the_ends_of_a_box_are_in_it_in_any_precision(box, dtype):
    # float32's 0.3 is a little more than 0.3: an input clamped to [0, 0.3] must be an input of the box [0, 0.3].
    check_inputs(torch.tensor([[-9.0, 9.0]], dtype=dtype).clamp(*box), box)


def test_inputs_are_not_modified():
    x = torch.rand(3, 4)
    before = x.clone()
    check_inputs(x, BOX)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_type_pass(dtype):
    check_labels(torch.tensor([0, 1, 2], dtype=dtype), 3, 3)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2], "y is list"),
        (torch.tensor([0.0, 1.0, 2.0]), "y is torch.float32"),
        (torch.tensor([True, False, True]), "y is torch.bool"),
        (torch.eye(3, dtype=torch.long), r"shape \(3, 3\) for 3 inputs.*not one-hot"),
        (torch.tensor([0, 1]), r"shape \(2,\) for 3 inputs"),
        (torch.tensor([[0], [1], [2]]), r"shape \(3, 1\)"),
        (torch.tensor([0, 1, 3]), r"range over 0\.\.3 with 3 classes.*more classes"),
        (torch.tensor([-1, 1, 2]), r"range over -1\.\.2.*0\.\.2"),
    ],
)
def test_what_are_no_labels(y, message):
    with pytest.raises(DataError, match=message):
        check_labels(y, 3, 3)
