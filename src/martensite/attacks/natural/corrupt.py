"""The corruptions by name, at five severities, for images of any size.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations", arXiv:1903.12261,
sec. 3 and appendix A. Strengths are those published for 32 x 32 images (CIFAR-10-C) and, from a shorter side of 85 pixels on,
for 224 x 224 images (ImageNet-C); in either range lengths go with the shorter side. Written anew: the figures are comparable, not
equal, to those on the published files; frost is procedural, where they show photographs of it.
"""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from martensite.attacks.natural import blur, digital, noise, weather
from martensite.core.config import nearest
from martensite.core.errors import ConfigError, DataError
from martensite.core.rng import Streams
from martensite.threat.ball import Box

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise",
    "gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic", "pixelate", "jpeg",
]  # fmt: skip
MAKERS: dict[str, Callable[[Tensor, int, Streams], Tensor]] = {
    "gaussian_noise": noise.gaussian,
    "shot_noise": noise.shot,
    "impulse_noise": noise.impulse,
    "speckle_noise": noise.speckle,
    "gaussian_blur": blur.gaussian,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.glass,
    "motion_blur": blur.motion,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
}
CORRUPTIONS: tuple[Kind, ...] = get_args(Kind)
SMALLEST = 4


def corrupt(x: Tensor, kind: Kind, severity: int, rng: Streams, box: Box = (0.0, 1.0)) -> Tensor:
    """Corrupt images.

    Args:
        x: (n, C, H, W) in the box, sides of at least 4; three channels are red, green and blue, any other number are greys.
        kind: One of `CORRUPTIONS`.
        severity: 1 (least) to 5.
        rng: One random stream a sample.
        box: Lowest and highest valid value, black and white.

    Returns:
        (n, C, H, W) in the box, x's dtype and device.

    Raises:
        ConfigError: no such kind or severity.
        DataError: not images, or too small.
    """
    if kind not in MAKERS:
        raise ConfigError(f"there is no corruption {kind!r}", remedy=nearest(kind, MAKERS))
    if severity not in range(1, 6):
        raise ConfigError(f"severity is {severity!r}", "it is 1, 2, 3, 4 or 5")
    if x.dim() != 4 or min(x.shape[-2:]) < SMALLEST:
        raise DataError(
            f"inputs have shape {tuple(x.shape[1:])}", f"images (C, H, W) with sides of at least {SMALLEST} are needed"
        )
    low, high = box
    draws = Streams(rng.keys.cpu(), rng.counter)
    image = (x.detach().cpu().double() - low) / (high - low)
    made = MAKERS[kind](image, severity - 1, draws).clamp(0.0, 1.0) * (high - low) + low
    rng.counter = draws.counter
    return made.to(x).clamp(low, high)
