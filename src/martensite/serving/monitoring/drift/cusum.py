"""CUSUM: the gain of the bets since the moment that was best to begin betting. It forgets what was long ago, and begins anew.

Page 1954, "Continuous inspection schemes", Biometrika 41, with the logarithm of a bet in place of a likelihood ratio: C_t =
max(C_{t-1}, 1) f(p_t), an alarm at C_t >= c. It never exceeds the Shiryaev-Roberts sum S_t = (S_{t-1} + 1) f(p_t), and S_t - t
is a martingale without drift, so at least c samples pass between two false alarms on average (Shin, Ramdas and Rinaldo 2024,
"E-detectors", arXiv:2203.03532, sec. 2).
"""

import math

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.bets import log_bets


class Cusum:
    """The mean of one CUSUM a bet.

    Args:
        bets: See `bets`.
        every: c, samples between two false alarms.
    """

    def __init__(self, bets: int, every: float) -> None:
        self._bets, self.threshold = bets, math.log(every)
        self._log_c = np.zeros(bets)
        self.alarms = 0

    @property
    def log_c(self) -> float:
        """Natural logarithm of the statistic."""
        return float(np.logaddexp.reduce(self._log_c)) - math.log(self._bets)

    def add(self, p: npt.NDArray[np.float64]) -> bool:
        """Take p-values in order; whether it rang on the way. After an alarm it begins anew."""
        rang = False
        while len(p):
            gains = log_bets(p, self._bets).cumsum(0)
            before = np.vstack([np.zeros(self._bets), gains[:-1]])
            best = np.maximum.accumulate(np.maximum(self._log_c.clip(0.0), -before), axis=0)
            path = gains + best
            mean = np.logaddexp.reduce(path, axis=1) - math.log(self._bets)
            hits = np.flatnonzero(mean >= self.threshold)
            if not len(hits):
                self._log_c = path[-1]
                break
            rang, self.alarms = True, self.alarms + 1
            self._log_c = np.zeros(self._bets)
            p = p[hits[0] + 1 :]
        return rang
