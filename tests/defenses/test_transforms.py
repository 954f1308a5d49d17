"""Transforms against other libraries, closed forms and optimality."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import fft, ndimage

from martensite.core.errors import ConfigError, ModelError
from martensite.core.rng import streams
from martensite.data import load_data
from martensite.defenses import JPEG, BitDepth, FeatureSqueezing, Gaussian, Median, ResizePad, TotalVariation
from martensite.defenses.soft_jpeg import _cosines, soft_jpeg
from martensite.defenses.total_variation import divergence, gradient

BOX = (0.0, 1.0)


def smooth_images(n, channels, high, wide, seed=0):
    """Random images without a camera's noise: what JPEG was made for."""
    chance = np.random.default_rng(seed)
    x = ndimage.gaussian_filter(chance.uniform(0, 1, (n, channels, high, wide)), (0, 0, 1.5, 1.5))
    x = (x - x.min()) / (x.max() - x.min())
    return torch.from_numpy(x).float()


def rng(n):
    return streams(0, "test", n)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (17, 23)])
def test_the_soft_jpeg_is_close_to_the_codec(quality, channels, size):
    x = smooth_images(4, channels, *size)
    real = JPEG(quality=quality).apply(x, BOX, rng(4)) * 255
    soft = soft_jpeg(x * 255, quality)
    far, moved = (real - soft).abs().mean(), (real - x * 255).abs().mean()
    assert far < 3.0  # levels of 255
    assert far < 0.7 * moved + 1.0  # nearer to the codec's result than the input is, where that changes much


def test_jpeg_is_what_pillow_writes_and_reads():
    x = smooth_images(1, 3, 20, 24)
    pixels = (x[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60, subsampling=2)
    expected = np.array(Image.open(file)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(JPEG(quality=60).apply(x, BOX, rng(1))[0], expected, atol=1e-6)


def test_the_cosine_transform_is_scipys():
    block = torch.rand(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(_cosines() @ block @ _cosines().T, fft.dctn(block.numpy(), norm="ortho"), atol=1e-12)


def test_the_soft_jpegs_gradient_is_that_of_finite_differences():
    x = (smooth_images(1, 1, 8, 8).double() * 255).requires_grad_(True)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (slope,) = torch.autograd.grad((soft_jpeg(x, 50) ** 2).sum(), x)
    step = 1e-6
    ahead, behind = ((soft_jpeg(x.detach() + sign * step * direction, 50) ** 2).sum() for sign in (1, -1))
    assert float((slope * direction).sum()) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-3)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_leaves_the_levels_of_so_many_bits(bits):
    x = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    y = BitDepth(bits=bits).apply(x, BOX, rng(5))
    levels = torch.arange(2**bits) / (2**bits - 1)
    assert torch.isin((y * (2**bits - 1)).round() / (2**bits - 1), levels).all()
    assert (y - x).abs().max() <= 0.5 / (2**bits - 1) + 1e-6
    assert torch.equal(BitDepth(bits=bits).apply(y, BOX, rng(5)), y)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_median_is_scipys(size):
    x = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    expected = ndimage.median_filter(x.numpy(), (1, 1, size, size), mode="reflect")
    np.testing.assert_array_equal(Median(size=size).apply(x, BOX, rng(3)), expected)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 2.0, 5.0])
def test_gaussian_smoothing_is_scipys(sigma):
    x = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(Gaussian(sigma=sigma).apply(x, BOX, rng(3)), expected, atol=1e-12)


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    chance = torch.Generator().manual_seed(0)
    u, p = torch.randn(2, 1, 6, 5, generator=chance).double(), torch.randn(2, 2, 1, 6, 5, generator=chance).double()
    assert float((gradient(u) * p).sum()) == pytest.approx(-float((u * divergence(p)).sum()))


def test_total_variation_minimisation_is_optimal():
    """No image nearby has a smaller objective, and a flat image stays as it is."""
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transform = TotalVariation(weight=0.1, steps=1000)

    def objective(u):
        return gradient(u).square().sum(0).sqrt().sum() + (u - x).square().sum() / (2 * 0.1)

    y = transform.apply(x, BOX, rng(2))
    best, chance = objective(y), torch.Generator().manual_seed(1)
    assert best < objective(x)
    for step in (1e-1, 1e-2, 1e-3):
        for _ in range(5):
            other = y + step * torch.randn(x.shape, generator=chance, dtype=torch.float64)
            assert objective(other) > best
        assert objective(y + step * (x - y)) > best - 1e-7
    flat = torch.full((1, 1, 8, 8), 0.4)
    torch.testing.assert_close(transform.apply(flat, BOX, rng(1)), flat)


def test_feature_squeezing_is_its_two_parts():
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    two = Median(size=3).apply(BitDepth(bits=2).apply(x, BOX, rng(3)), BOX, rng(3))
    assert torch.equal(FeatureSqueezing(bits=2, size=3).apply(x, BOX, rng(3)), two)


def test_resizing_keeps_the_whole_image_inside():
    """A white image has as many white pixels as the small image has, wherever it lies; of least 1 nothing changes."""
    x = torch.ones(200, 1, 20, 20)
    y = ResizePad(least=0.5).apply(x, BOX, rng(200))
    area = y.sum((1, 2, 3)) / 400
    assert area.min() > 0.2
    assert area.max() <= 1.0
    assert 0.5 < area.mean() < 0.65  # E[u^2] over u uniform in [0.5, 1] is 7/12
    some = torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ResizePad(least=1.0).apply(some, BOX, rng(4)), some, atol=1e-5, rtol=0)


def test_images_are_asked_for_by_name():
    with pytest.raises(ModelError, match="takes images"):
        JPEG().check_shape((10,))
    with pytest.raises(ModelError, match="window must fit"):
        Median(size=9).check_shape((1, 8, 8))
    BitDepth().check_shape((10,))
    with pytest.raises(ConfigError):
        BitDepth(bits=0)


def test_digits_survive_what_is_meant_to_leave_them(model):
    """The transforms' defaults cost the model a few digits, not most of them."""
    data = load_data("digits", split="validation")
    with torch.no_grad():
        plain = (model(data.x).argmax(1) == data.y).float().mean()
        kept = {
            type(one).__name__: (model(one.apply(data.x, BOX, rng(len(data)))).argmax(1) == data.y).float().mean()
            for one in (JPEG(), BitDepth(), Gaussian(sigma=0.4), TotalVariation(weight=0.03))
        }
    assert all(rate > plain - 0.15 for rate in kept.values()), kept
