"""Natural corruptions: each against what it must do to simple images, and the worst of them as an attack."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from martensite.attacks import Corruptions, Oracle, attack, corrupt
from martensite.attacks.losses import margin
from martensite.attacks.natural import CORRUPTIONS
from martensite.attacks.natural.weather import plasma
from martensite.core.errors import ConfigError, DataError, ThreatError
from martensite.core.rng import streams
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.01)
SEVERITIES = range(1, 6)
GROWING = set(CORRUPTIONS) - {"glass_blur", "motion_blur", "frost", "elastic", "pixelate"}  # as published, these don't in RMS
every_kind = pytest.mark.parametrize("kind", CORRUPTIONS)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def images(n=6, shape=(3, 32, 32), dtype=torch.float32):
    """Smooth blobs with some texture, in the whole of the unit box."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(n, shape[0], 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1)
    return (0.9 * smooth + 0.1 * torch.rand(n, *shape, generator=generator)).to(dtype)


def rng(n, seed=0):
    return streams(seed, "corrupt", n)


def grey(value=0.5, n=4, shape=(1, 64, 64)):
    return torch.full((n, *shape), value)


@every_kind
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 33, 20), (2, 5, 5), (3, 96, 64)], ids=str)
@pytest.mark.parametrize("severity", [1, 5])
def test_images_of_any_size_stay_images(kind, shape, severity):
    n = 40 if shape[1] <= 8 else 3  # of 2,000 values impulse noise leaves all alone with a chance of 2e-9
    x = images(n, shape)
    given = x.clone()
    made = corrupt(x, kind, severity, rng(n))
    assert made.shape == x.shape
    assert made.dtype == x.dtype
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, x)
    assert torch.equal(x, given)


@every_kind
def test_the_box_may_be_any(kind):
    x = images(3)
    unit = corrupt(x, kind, 3, rng(3))
    wide = corrupt(x.double() * 4 - 1, kind, 3, rng(3), box=(-1.0, 3.0))
    # float32 pixels that JPEG's or a threshold's rounding tips to the other side are few
    assert ((wide + 1) / 4 - unit).abs().gt(1e-4).double().mean() < 0.002
    assert wide.dtype == torch.float64


@every_kind
def test_draws_belong_to_samples(kind):
    x = images(5)
    whole = corrupt(x, kind, 3, rng(5))
    torch.testing.assert_close(corrupt(x[3:], kind, 3, rng(5)[3:]), whole[3:], rtol=0, atol=1e-6)
    assert torch.equal(corrupt(x, kind, 3, rng(5)), whole)
    random = {"snow", "frost", "fog", "elastic", "glass_blur", "motion_blur"} | {k for k in CORRUPTIONS if "noise" in k}
    assert (kind in random) is not torch.equal(corrupt(x, kind, 3, rng(5, seed=1)), whole)


@every_kind
def test_two_draws_from_one_stream_differ_where_there_are_draws(kind):
    x, one = images(2), rng(2)
    first, used = corrupt(x, kind, 3, one), one.counter
    second = corrupt(x, kind, 3, one)
    assert torch.equal(first, second) is (used == 0)


@pytest.mark.parametrize("kind", sorted(GROWING))
def test_a_higher_severity_changes_more(kind):
    x = images(40)
    change = [float((corrupt(x, kind, severity, rng(40)) - x).square().mean()) for severity in SEVERITIES]
    assert change == sorted(change)
    assert change[4] > 1.5 * change[0]


# noise


@every_severity
def test_gaussian_noise_has_its_deviation(severity):
    x = grey()
    noise = corrupt(x, "gaussian_noise", severity, rng(4)) - x
    sigma = [0.04, 0.06, 0.08, 0.09, 0.1][severity - 1]
    assert float(noise.std()) == pytest.approx(sigma, rel=0.03)
    assert abs(float(noise.mean())) < 4 * sigma / 128


@every_severity
def test_shot_noise_is_poisson(severity):
    photons = [500, 250, 100, 75, 50][severity - 1]
    for light in (0.02, 0.3):
        counts = corrupt(grey(light), "shot_noise", severity, rng(4)).double() * photons
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-4)
        assert float(counts.mean()) == pytest.approx(photons * light, abs=4 * (photons * light / 16384) ** 0.5)
        assert float(counts.var()) == pytest.approx(photons * light, rel=0.06)
    assert not corrupt(grey(0.0), "shot_noise", severity, rng(4)).any()


@every_severity
def test_impulse_noise_hits_its_share(severity):
    share, n = [0.01, 0.02, 0.03, 0.05, 0.07][severity - 1], 16384
    made = corrupt(grey(), "impulse_noise", severity, rng(4))
    for value in (0.0, 1.0):
        assert abs(float((made == value).double().mean()) - share / 2) < 4 * (share / 2 / n) ** 0.5
    assert ((made == 0) | (made == 1) | (made == 0.5)).all()


@every_severity
def test_speckle_grows_with_the_light(severity):
    sigma = [0.06, 0.1, 0.12, 0.16, 0.2][severity - 1]
    for light in (0.0, 0.1, 0.4):
        made = corrupt(grey(light), "speckle_noise", severity, rng(4))
        assert float((made - light).std()) == pytest.approx(sigma * light, rel=0.03)


@every_severity
def test_large_images_have_the_strengths_published_for_imagenet(severity):
    # 96 pixels are nearer to 224 than to 32. Each share within four standard errors, for 2 x 9,216 values.
    x, n = grey(n=2, shape=(1, 96, 96)), 2 * 96 * 96
    share = [0.03, 0.06, 0.09, 0.17, 0.27][severity - 1]
    black = float((corrupt(x, "impulse_noise", severity, rng(2)) == 0).double().mean())
    assert abs(black - share / 2) < 4 * (share / 2 / n) ** 0.5
    photons = [60, 25, 12, 5, 3][severity - 1]
    counts = corrupt(0.2 * x, "shot_noise", severity, rng(2)).double() * photons
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-5)
    smooth = 0.4 + 0.2 * images(2, (3, 96, 96))
    kept = [0.4, 0.3, 0.2, 0.1, 0.05][severity - 1]
    torch.testing.assert_close(corrupt(smooth, "contrast", severity, rng(2)).std((2, 3)), kept * smooth.std((2, 3)))
    torch.testing.assert_close(
        corrupt(smooth, "brightness", severity, rng(2)).amax(1), (smooth.amax(1) + severity / 10).clamp(max=1)
    )
    assert (
        len(corrupt(images(1, (1, 100, 100)), "pixelate", severity, rng(1)).unique())
        <= [3600, 2500, 1600, 900, 625][severity - 1]
    )


# blur


@pytest.mark.parametrize(
    "kind", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"]
)
@every_severity
def test_what_moves_light_leaves_an_even_image_alone(kind, severity):
    torch.testing.assert_close(corrupt(grey(0.37), kind, severity, rng(4)), grey(0.37), rtol=0, atol=1e-6)


def spread(made):
    """Mean and covariance of the light's position (column, row), image by image."""
    light = made.double().sum(1) / made.double().sum((1, 2, 3)).view(-1, 1, 1)
    at = torch.arange(made.shape[-1], dtype=torch.float64) - made.shape[-1] // 2
    column, row = (light.sum(1) * at).sum(1), (light.sum(2) * at).sum(1)
    return column, row, (light.sum(1) * at**2).sum(1) - column**2, (light.sum(2) * at**2).sum(1) - row**2


def dot(n=1, side=33):
    x = torch.zeros(n, 1, side, side)
    x[:, :, side // 2, side // 2] = 1.0
    return x


@every_severity
def test_blurs_spread_a_dot_by_their_width(severity):
    column, row, wide, high = spread(corrupt(dot(), "gaussian_blur", severity, rng(1)))
    sigma = [0.4, 0.6, 0.7, 0.8, 1.0][severity - 1] * 33 / 32
    at = np.arange(-8, 9)
    bell = np.exp(-0.5 * (at / sigma) ** 2)  # sampled at whole pixels, which below one pixel is narrower than sigma
    assert float(wide) == pytest.approx((bell * at**2).sum() / bell.sum(), rel=0.01)
    assert float(high) == pytest.approx(float(wide), rel=1e-4)
    assert max(abs(float(column)), abs(float(row))) < 1e-6
    column, row, wide, high = spread(corrupt(dot(), "defocus_blur", severity, rng(1)))
    assert float(wide) > 0
    assert float(high) == pytest.approx(float(wide), rel=1e-4)
    assert max(abs(float(column)), abs(float(row))) < 1e-6


def test_larger_images_are_blurred_in_proportion():
    # Half as much again in the side, in the width of the kernel; for images like CIFAR's and for images like ImageNet's.
    for sides, published in (((48, 72), 1.0 / 32), ((96, 144), 6.0 / 224)):
        small, large = (spread(corrupt(dot(side=side), "gaussian_blur", 5, rng(1)))[2].item() for side in sides)
        assert small == pytest.approx((published * sides[0]) ** 2, rel=0.01)
        assert large == pytest.approx(2.25 * small, rel=0.01)


@every_severity
def test_motion_smears_a_dot_along_a_line_near_the_horizontal(severity):
    x = dot(100)
    made = corrupt(x, "motion_blur", severity, rng(100))
    column, row, _, _ = spread(made)
    angle = torch.atan2(row, -column)  # the dot is seen from where the shift has led
    assert (angle.abs() <= np.pi / 4 + 1e-3).all()
    assert angle.max() > 0.6
    assert angle.min() < -0.6
    taps = np.arange(int(3 * (sigma := [1, 1.5, 2, 2, 2.5][severity - 1] * 33 / 32)) + 2)
    weights = np.exp(-0.5 * (taps / sigma) ** 2)
    length = torch.hypot(column, row)
    torch.testing.assert_close(length, torch.full_like(length, (taps * weights).sum() / weights.sum()), rtol=1e-3, atol=0)


def test_zoom_keeps_the_centre_and_pulls_outwards():
    x = torch.zeros(1, 1, 33, 33)
    x[0, 0, 16, 26] = 1.0
    column, row, _, _ = spread(corrupt(x, "zoom_blur", 5, rng(1)))
    assert 10.5 < float(column) < 12.5  # from 10, up to a quarter further
    assert abs(float(row)) < 1e-5


@every_severity
def test_glass_swaps_pixels_and_adds_none(severity):
    x = images(3, (3, 32, 32))
    made = corrupt(x, "glass_blur", severity, rng(3))
    assert float(made.mean()) == pytest.approx(float(x.mean()), rel=0.01)
    if severity == 1:  # no smoothing to speak of: the pixels are the same, each with its colours, elsewhere
        pixels = [sorted(map(tuple, image.flatten(1).T.round(decimals=4).tolist())) for image in (x[0], made[0])]
        assert pixels[0] == pixels[1]
        assert (x[0] != made[0]).double().mean() > 0.5


# weather


@pytest.mark.parametrize("kind", ["snow", "frost", "brightness"])
def test_weather_brightens_a_dark_image(kind):
    x = images(10) * 0.3
    assert (corrupt(x, kind, 5, rng(10)).mean((1, 2, 3)) > x.mean((1, 2, 3)) + 0.03).all()


@every_severity
@pytest.mark.parametrize("side", [32, 128])
def test_fog_is_the_image_under_clouds_of_its_thickness_dimmed_to_its_range(severity, side):
    # made = (x + thick * clouds) * m / (m + thick), with m the brightest value of x: solved for the clouds.
    x = images(5, (3, side, side)).double()
    made = corrupt(x, "fog", severity, rng(5))
    thick = [[0.2, 0.5, 0.75, 1.0, 1.5], [1.5, 2.0, 2.5, 2.5, 3.0]][side > 32][severity - 1]
    brightest = x.amax((1, 2, 3), keepdim=True)
    clouds = (made * (brightest + thick) / brightest - x) / thick
    assert clouds.amin((1, 2, 3)).abs().max() < 1e-9
    assert (clouds.amax((1, 2, 3)) - 1).abs().max() < 1e-9
    assert (clouds - clouds[:, :1]).abs().max() < 1e-9  # grey


def midpoints(clouds, step):
    """What the middles of squares of side 2 * step differ by from the mean of the squares' corners."""
    corners = clouds[:, 0, :: 2 * step, :: 2 * step]
    right, below = corners.roll(-1, 2), corners.roll(-1, 1)
    return clouds[:, 0, step :: 2 * step, step :: 2 * step] - (corners + right + below + right.roll(-1, 1)) / 4


@pytest.mark.parametrize("decay", [1.2, 1.75, 2.0, 3.0])
def test_plasma_s_variation_shrinks_by_the_square_of_the_decay_and_fills_the_range(decay):
    # At each scale the middle of a square is the mean of its corners plus noise of that scale's amplitude. Standard error of the
    # ratio, over 60 clouds with 64 squares in the coarser scale: about 1.5 %.
    clouds = plasma(torch.zeros(60, 1, 32, 32), decay, rng(60))
    assert (clouds.amin((1, 2, 3)) == 0).all()
    assert (clouds.amax((1, 2, 3)) == 1).all()
    fine, coarse = (midpoints(clouds, step).square().mean().sqrt() for step in (1, 2))
    assert float(coarse / fine) == pytest.approx(decay**2, rel=0.06)


@every_severity
def test_brightness_raises_the_value_and_keeps_the_hue(severity):
    added = [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1]
    x = images(4) * 0.6 + 0.05
    made = corrupt(x, "brightness", severity, rng(4))
    torch.testing.assert_close(made.amax(1), x.amax(1) + added)
    torch.testing.assert_close(made / made.amax(1, keepdim=True), x / x.amax(1, keepdim=True))
    black = torch.zeros(1, 3, 8, 8)
    torch.testing.assert_close(corrupt(black, "brightness", severity, rng(1)), black + added)
    torch.testing.assert_close(corrupt(x[:, :1], "brightness", severity, rng(4)), x[:, :1] + added)


# digital


@every_severity
def test_contrast_shrinks_deviations_about_each_channel_s_mean(severity):
    x = images(4)
    made = corrupt(x, "contrast", severity, rng(4))
    torch.testing.assert_close(made.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(made.std((2, 3)), [0.75, 0.5, 0.4, 0.3, 0.15][severity - 1] * x.std((2, 3)))


@every_severity
def test_pixelate_leaves_few_values(severity):
    made = corrupt(images(1, (1, 32, 32)), "pixelate", severity, rng(1))
    side = int(32 * [0.95, 0.9, 0.85, 0.75, 0.65][severity - 1])
    assert len(made.unique()) <= side**2
    assert len(made[0, 0].unique(dim=0)) == len(made[0, 0].T.unique(dim=0)) == side


@every_severity
def test_jpeg_is_pillow_s(severity):
    x = images(2)
    made = corrupt(x, "jpeg", severity, rng(2))
    file = BytesIO()
    pixels = (x[1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels, "RGB").save(file, "JPEG", quality=[80, 65, 58, 50, 40][severity - 1])
    expected = np.array(Image.open(file)).astype(np.float32).transpose(2, 0, 1) / 255
    torch.testing.assert_close(made[1], torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_elastic_keeps_straight_lines_straight_where_it_is_affine():
    # Severity 1 displaces nothing: a ramp stays a ramp, away from the mirrored edges.
    ramp = torch.linspace(0.2, 0.8, 64).expand(5, 1, 64, 64)
    inner = corrupt(ramp, "elastic", 1, rng(5))[:, 0, 24:40, 24:40].double()
    for axis in (1, 2):
        assert inner.diff(n=2, dim=axis).abs().max() < 1e-5
    bent = corrupt(ramp, "elastic", 5, rng(5))[:, 0, 24:40, 24:40].double()
    assert bent.diff(n=2, dim=2).abs().max() > 1e-3


# the attack


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 4))
        net[3].bias.data -= net(images(50, (3, 16, 16))).mean(0)
        return Classifier(net, 4)


def labels(model, x):
    with torch.no_grad():
        return model(x).argmax(1)


def test_the_worst_kind_is_returned(model):
    x = images(20, (3, 16, 16))
    y = labels(model, x)
    kinds = ("gaussian_noise", "contrast", "fog", "jpeg")
    found = Corruptions(kinds=kinds, severity=5).perturb(Oracle(model, until_broken=False), x, y, THREAT, rng(20))
    with torch.no_grad():
        each = torch.stack([margin(model(corrupt(x, kind, 5, rng(20).fork(kind))), y) for kind in kinds])
        torch.testing.assert_close(margin(model(found), y), each.amax(0))
    assert len(each.argmax(0).unique()) > 1


def test_success_is_the_union_of_the_kinds_and_judged_afresh(model):
    x = images(60, (3, 16, 16))
    y = labels(model, x)
    together = attack(Corruptions(severity=5), model, x, y, THREAT)
    alone = [attack(Corruptions(kinds=(kind,), severity=5), model, x, y, THREAT).success for kind in CORRUPTIONS]
    assert torch.equal(together.success, torch.stack(alone).any(0))
    assert together.success.any()
    assert max(int(one.sum()) for one in alone) < together.success.sum()
    assert not together.error.any()
    assert torch.equal(labels(model, together.adversarial) != y, together.success)


def test_labels_alone_suffice(model):
    x = images(30, (3, 16, 16))
    y = labels(model, x)
    blind = BlackBox(lambda z: labels(model, torch.from_numpy(z)).numpy(), 4, access=Access.DECISIONS)
    seen, unseen = (attack(Corruptions(severity=5), one, x, y, THREAT) for one in (model, blind))
    assert torch.equal(seen.success, unseen.success)


# bad input


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_other_severities_are_refused(severity):
    with pytest.raises(ConfigError, match=r"1, 2, 3, 4 or 5"):
        corrupt(grey(), "fog", severity, rng(4))


def test_unknown_kinds_are_refused_by_name():
    with pytest.raises(ConfigError, match="did you mean 'gaussian_blur'"):
        corrupt(grey(), "gausian_blur", 1, rng(4))
    with pytest.raises(ConfigError, match="gausian_blur"):
        Corruptions(kinds=("gausian_blur",))
    with pytest.raises(ConfigError, match="kinds"):
        Corruptions(kinds=())


@pytest.mark.parametrize("shape", [(20,), (3, 2, 8)], ids=str)
def test_what_is_no_image_is_refused(shape):
    x = torch.rand(3, *shape)
    with pytest.raises(DataError, match="sides of at least 4"):
        corrupt(x, "fog", 1, rng(3))
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2)), 2)
    with pytest.raises(ThreatError, match="sides of at least 4"):
        attack(Corruptions(), model, x, labels(model, x), THREAT)
