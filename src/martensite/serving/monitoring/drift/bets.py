"""Bets against a uniform p-value: each is fair if there is no drift, and wins if p-values crowd at one end.

A bet f has the integral 1 over [0, 1], so that f(p) is an e-value: its mean is 1 under the null. f(p) = kappa p^(kappa - 1),
and the same of 1 - p: Vovk, Nouretdinov and Gammerman 2003, sec. 3.
"""

import numpy as np
import numpy.typing as npt

KAPPAS = np.array([0.3, 0.6, 0.85])
LOW, BOTH = len(KAPPAS), 2 * len(KAPPAS)  # bets on small p-values; on either end
SMALLEST = 1e-12  # a p-value of exactly 0 or 1 would win or lose everything


def log_bets(p: npt.NDArray[np.float64], bets: int) -> npt.NDArray[np.float64]:
    """(m, bets) natural logarithms of what each bet makes of its stake.

    Args:
        p: (m,) p-values.
        bets: `LOW` or `BOTH`.
    """
    p = p.clip(SMALLEST, 1.0 - SMALLEST)
    low = np.log(KAPPAS) + (KAPPAS - 1.0) * np.log(p)[:, None]
    if bets == LOW:
        return low  # type: ignore[no-any-return]
    return np.hstack([low, np.log(KAPPAS) + (KAPPAS - 1.0) * np.log1p(-p)[:, None]])
