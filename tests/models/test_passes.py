"""A pass in parts is the same pass."""

import pytest
import torch

from martensite.models.passes import PASS, by_parts


@pytest.mark.parametrize("n", [1, PASS, PASS + 1, 3 * PASS + 5])
def test_parts_are_computed_in_order_and_none_is_too_large(n):
    sizes = []

    def double(x):
        sizes.append(len(x))
        return 2 * x

    x = torch.arange(2.0 * n).view(n, 2)
    assert torch.equal(by_parts(double, x), 2 * x)
    assert sum(sizes) == n
    assert max(sizes) <= PASS


def test_a_gradient_goes_through_all_parts():
    x = torch.randn(2 * PASS + 1, 3, requires_grad=True)
    by_parts(torch.sin, x).sum().backward()
    torch.testing.assert_close(x.grad, x.detach().cos())
