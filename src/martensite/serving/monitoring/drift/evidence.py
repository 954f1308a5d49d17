"""Evidence against "no drift", which may be looked at after every sample and for ever.

Before the stream begins a capital of 1 is divided among all moments t = 1, 2, ... at which a change may come, w_t = 1 / (t (t +
1)), and among the bets; each share lies idle until its moment and is then staked, all of it, on every p-value that follows.
Each share is a martingale, so the sum of them is one:

    E_t = R_t + 1 / (t + 1),    R_t = (R_{t-1} + w_t) f(p_t)

and by Ville's inequality P(E_t >= 1 / alpha for some t) <= alpha if there is no drift (Ramdas, Gruenwald, Vovk and Shafer 2023,
"Game-theoretic statistics and safe anytime-valid inference", arXiv:2210.01948, sec. 2). A change at t costs 2 log t of growth,
however late it comes; a single martingale would have lost everything by then.
"""

import math

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.bets import log_bets


class Evidence:
    """An e-process on p-values that are independent and uniform without drift.

    Args:
        bets: See `bets`.
    """

    def __init__(self, bets: int) -> None:
        self._bets = bets
        self._t = 0
        self._log_r = np.full(bets, -math.inf)
        self.highest = 0.0  # log E, ever

    @property
    def log_e(self) -> float:
        """Natural logarithm of the capital."""
        return float(np.logaddexp(_log_mean(self._log_r), -math.log(self._t + 1)))

    def add(self, p: npt.NDArray[np.float64]) -> float:
        """Bet on p-values in order.

        Returns:
            The highest log E on the way.
        """
        if not len(p):
            return self.log_e
        gains = log_bets(p, self._bets).cumsum(0)
        before = np.vstack([np.zeros(self._bets), gains[:-1]])
        t = self._t + np.arange(1, len(p) + 1, dtype=np.float64)
        stakes = np.logaddexp.accumulate(-np.log(t * (t + 1))[:, None] - before, axis=0)
        log_r = gains + np.logaddexp(self._log_r, stakes)
        path = np.logaddexp(np.logaddexp.reduce(log_r, axis=1) - math.log(self._bets), -np.log(t + 1))
        self._log_r, self._t = log_r[-1], self._t + len(p)
        highest = float(path.max())
        self.highest = max(self.highest, highest)
        return highest


def _log_mean(logs: npt.NDArray[np.float64]) -> float:
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))
