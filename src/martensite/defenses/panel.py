"""Several detectors, one alarm: Holm's correction, so that many detectors don't make many false alarms.

Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6. It holds under any
dependence between the detectors, which look at the same input, and it says which of them rang. Its alarm, that any rings, is
Bonferroni's: some p-value is at most alpha / m. A harmonic mean of p-values that is valid under any dependence costs a factor of
e log m (Vovk and Wang 2020, "Combining p-values via averaging", arXiv:1212.4966, sec. 5): with the handful of detectors there are
here it gains nothing, and it names none.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from martensite.core.errors import ConfigError
from martensite.defenses.detector import Fitted
from martensite.defenses.features import Penultimate
from martensite.defenses.look import Look


class Panel:
    """Calibrated detectors of one model.

    Args:
        fitted: At least one, calibrated.
        false_alarms: Of all together, in (0, 1).

    Raises:
        ConfigError: none, one that isn't calibrated, or too few calibration samples for a rate of ``false_alarms / m``.

    Attributes:
        names: One a detector; a kind that is there twice is numbered.
    """

    def __init__(self, fitted: Sequence[Fitted], false_alarms: float) -> None:
        if not fitted:
            raise ConfigError("no detector was given", "an alarm needs at least one", "e.g. energy")
        self.fitted, self.false_alarms = tuple(fitted), false_alarms
        self._thresholds = torch.tensor([one.threshold(false_alarms / len(fitted)) for one in fitted], dtype=torch.float64)
        middle = torch.tensor([float(one.calibrated.median()) for one in fitted], dtype=torch.float64)
        self._scales = (self._thresholds - middle).clamp_min(1e-12)
        # One search for all: rows of one length, the shorter ones with infinity behind.
        sizes = [len(one.calibrated) for one in fitted]
        self._clean = torch.full((len(fitted), max(sizes)), torch.inf, dtype=torch.float64)
        for row, one in zip(self._clean, fitted, strict=True):
            row[: len(one.calibrated)] = one.calibrated
        self._sizes = torch.tensor(sizes)[:, None]
        self._ranks = (self._sizes + 1).double()
        kinds = [one.detector.kind for one in fitted]
        self.names = tuple(
            kind if kinds.count(kind) == 1 else f"{kind}_{kinds[:place].count(kind) + 1}" for place, kind in enumerate(kinds)
        )
        wants = any(one.detector.reads == "features" for one in fitted)
        self._penultimate = Penultimate(fitted[0].model) if wants else None

    def look(self, x: Tensor) -> Look:
        """A look at a batch that serves all of them."""
        return Look(self.fitted[0].model, x, self._penultimate)

    def scores(self, look: Look) -> Tensor:
        """(n, m) float64 suspicion, differentiable."""
        return torch.stack([one.look(look).double() for one in self.fitted], 1)

    def p_values(self, scores: Tensor) -> Tensor:
        """(n, m) float64 conformal p-values on the CPU, one a detector, not corrected; as `conformal.p_values` has them."""
        below = torch.searchsorted(self._clean, scores.detach().cpu().T.contiguous())
        return ((self._ranks - below.minimum(self._sizes)) / self._ranks).T  # NaN is found behind everything

    def rings(self, scores: Tensor) -> Tensor:
        """(n,) bool: the alarm, exactly where `margin` is positive."""
        return (scores <= self._thresholds.to(scores.device)).all(1).logical_not()

    def margin(self, scores: Tensor) -> Tensor:
        """(n,) float64, differentiable: positive exactly where the alarm rings; 1 is as far above it as clean data lies below.

        A score that is no number rings, as its p-value says; a comparison with it would be false and let it pass.
        """
        scores = scores.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        return ((scores - self._thresholds.to(scores.device)) / self._scales.to(scores.device)).amax(1)


def holm(p: Tensor) -> Tensor:
    """p-values (n, m) of m detectors, corrected row by row; a detector rings where its own is at most alpha."""
    m = p.shape[1]
    ranked, order = p.sort(1)
    factors = torch.arange(m, 0, -1, dtype=p.dtype, device=p.device)
    corrected = (ranked * factors).clamp_max(1.0).cummax(1).values
    return torch.empty_like(p).scatter_(1, order, corrected)
