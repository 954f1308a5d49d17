"""Corruption error: how often a model is wrong on corrupted images, corruption by corruption, severity by severity.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations", arXiv:1903.12261,
sec. 4.2: CE_c = sum_s E_(s,c) / sum_s E_(s,c) of a reference model; mCE is the mean of CE_c over the corruptions. Without a
reference it is the mean error, as they report it for CIFAR-10-C. An error is a wrong answer, whatever the clean image got.
"""

from statistics import fmean

from pydantic import Field

from martensite.attacks.natural import Kind
from martensite.core.config import Config
from martensite.core.errors import ConfigError, DataError
from martensite.evaluation.rate import Rate

FIFTEEN: tuple[Kind, ...] = (  # of the paper's table 1; speckle noise and Gaussian blur are extras there
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost",
    "fog", "brightness", "contrast", "elastic", "pixelate", "jpeg",
)  # fmt: skip
SEVERITIES = (1, 2, 3, 4, 5)


class Corrupting(Config):
    """Which corruptions a suite measures.

    Args:
        kinds: Of them.
        severities: 1 (least) to 5.
    """

    kinds: tuple[Kind, ...] = Field(default=FIFTEEN, min_length=1)
    severities: tuple[int, ...] = Field(default=SEVERITIES, min_length=1)

    def model_post_init(self, context: object) -> None:
        """Refuse what no image is corrupted with."""
        if not set(self.severities) <= set(SEVERITIES) or len(set(self.severities)) < len(self.severities):
            raise ConfigError(f"severities are {list(self.severities)}", "each is 1, 2, 3, 4 or 5, and there once")
        if len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(f"kinds are {list(self.kinds)}", "each is there once")


class CorruptionRow(Config):
    """One corruption.

    Attributes:
        kind: Which.
        errors: Share of the samples that are answered wrongly, or not at all, one a severity.
        mean: Over the severities.
    """

    kind: Kind
    errors: tuple[Rate, ...]
    mean: float


class CorruptionError(Config):
    """Errors on corrupted images.

    Attributes:
        severities: Of the columns.
        rows: One a corruption.
        mean: Mean corruption error, not normalised by another model: the mean over corruptions and severities. In [0, 1].
        rise: The same less the error on clean images.
        unanswered: Corrupted images that a model which only answers queries left open; they count as errors.
    """

    severities: tuple[int, ...]
    rows: tuple[CorruptionRow, ...]
    mean: float
    rise: float
    unanswered: int = 0


def relative_corruption_error(found: CorruptionError, reference: CorruptionError) -> float | None:
    """mCE as in eq. 1 of the paper, relative to a reference model: 1 is as good as it, less is better.

    Returns:
        None where the reference makes no error under some corruption.

    Raises:
        DataError: the two don't hold the same corruptions and severities.
    """
    if found.severities != reference.severities or [a.kind for a in found.rows] != [b.kind for b in reference.rows]:
        raise DataError("the two reports hold other corruptions", "a ratio needs the same in both", "evaluate both models alike")
    if not all(row.mean > 0 for row in reference.rows):
        return None
    return fmean(ours.mean / theirs.mean for ours, theirs in zip(found.rows, reference.rows, strict=True))
