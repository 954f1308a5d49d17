"""Pictures inside the page."""

import base64
import io

import pytest
import torch
from PIL import Image

from martensite.reporting.gallery import BUDGET, LARGEST, Pair, gallery

from . import samples


def pair(clean: torch.Tensor, adversarial: torch.Tensor) -> Pair:
    return samples.pairs(1, clean=clean, adversarial=adversarial)[0]


def opened(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_small_pictures_are_enlarged_pixel_by_pixel() -> None:
    clean = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = gallery([pair(clean, clean)], (0.0, 1.0))
    assert drawn is not None
    image = opened(drawn.triples[0].clean)
    scale = image.width // 8
    assert (image.mode, image.size) == ("L", (8 * scale, 8 * scale))
    levels = torch.tensor(list(image.tobytes())).view(8, scale, 8, scale)
    assert torch.equal(levels[:, 0, :, 0], (clean[0] * 255).round().long())
    assert (levels == levels[:, :1, :, :1]).all()


def test_the_perturbation_spans_black_to_white_around_grey() -> None:
    clean = torch.full((3, 4, 4), 0.5)
    adversarial = clean.clone()
    adversarial[:, 0, 0], adversarial[:, 1, 1] = 0.6, 0.4
    drawn = gallery([pair(clean, adversarial)], (0.0, 1.0))
    assert drawn is not None
    assert drawn.factor == pytest.approx(5.0)
    image = opened(drawn.triples[0].perturbation)
    step = image.width // 4
    assert image.mode == "RGB"
    assert [image.getpixel((at * step, at * step))[0] for at in range(3)] == [255, 0, 128]


def test_the_box_is_what_is_drawn_from_black_to_white() -> None:
    clean = torch.tensor([[[-1.0, 1.0], [0.0, 3.0]]])
    drawn = gallery([pair(clean, clean)], (-1.0, 3.0))
    assert drawn is not None
    image = opened(drawn.triples[0].clean)
    step = image.width // 2
    assert [image.getpixel((x * step, y * step)) for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))] == [0, 128, 64, 255]


@pytest.mark.parametrize("shape", [(57,), (1, 57), (2, 8, 8), (1, 1, 57)])
def test_what_is_no_picture_is_left_out(shape: tuple[int, ...]) -> None:
    assert gallery([pair(torch.zeros(shape), torch.zeros(shape))], (0.0, 1.0)) is None
    assert gallery([], (0.0, 1.0)) is None


def test_large_pictures_are_shrunk_and_kept_within_the_budget() -> None:
    noise = torch.rand(3, 300, 200, generator=torch.Generator().manual_seed(0))
    drawn = gallery([pair(noise, 1 - noise)] * 12, (0.0, 1.0))
    assert drawn is not None
    assert max(opened(drawn.triples[0].clean).size) == LARGEST
    assert len(drawn.triples) + drawn.left_out == 12
    assert drawn.left_out
    assert sum(len(t.clean) + len(t.perturbation) + len(t.adversarial) for t in drawn.triples) <= BUDGET


def test_twelve_digits_and_twelve_small_photographs_fit() -> None:
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    for pairs in (samples.pairs(12), [pair(noise, 1 - noise)] * 12):
        drawn = gallery(pairs, (0.0, 1.0))
        assert drawn is not None
        assert drawn.left_out == 0
