"""Anytime-valid tests: looks without end, for when the number of samples isn't known beforehand.

Robbins 1970, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Statist. 41:1397-1409; in the
language of betting: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86:1-27,
arXiv:2010.09686.

Bet on miss rates m below q with a prior pi over (0, q). After f misses in n samples the capital is

    M(n, f) = int_0^q m^f (1 - m)^(n - f) pi(m) dm / (q^f (1 - q)^(n - f)).

One sample multiplies the capital of a bet on m by m / q or (1 - m) / (1 - q), which for m < q and a true miss rate of at least q
has expectation at most 1: M is a nonnegative supermartingale under H0, and by Ville's inequality exceeds 1 / alpha, at any time
whatever, with probability at most alpha. Here pi is Beta(1/2, 1/2), cut at q; M falls as f rises, because each bet's does.

The thresholds of a look don't depend on later looks: a run may be prolonged with a larger n, and stays valid.
"""

from math import log, log1p

from scipy.special import betainc, betaln

from martensite.certification.design import Design, futile, looks

PRIOR = 0.5
MARGIN = 1e-6  # in the logarithm of the capital, above the rounding of the special functions


def log_capital(n: int, f: int, q: float) -> float:
    """log M(n, f); minus infinity where it underflows, which rejects nothing."""
    a, b = f + PRIOR, n - f + PRIOR
    below, prior = float(betainc(a, b, q)), float(betainc(PRIOR, PRIOR, q))
    if below == 0.0:
        return -float("inf")
    won = float(betaln(a, b)) + log(below) - float(betaln(PRIOR, PRIOR)) - log(prior)
    return won - f * log(q) - (n - f) * log1p(-q)


def anytime_design(q: float, alpha: float, n: int) -> Design:
    """The test at the looks up to n; its ``spent`` is alpha, which holds for all looks there could ever be."""
    places = looks(n)
    reject = [_most(place, q, alpha) for place in places]
    return Design(q, alpha, places, tuple(reject), futile(places, reject), alpha)


def _most(n: int, q: float, alpha: float) -> int:
    """The most misses in n samples at which the capital reaches 1 / alpha; -1 if none."""
    wanted = -log(alpha) + MARGIN
    low, high = -1, int(q * n) + 1  # with more misses than expected there is nothing to win
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if log_capital(n, middle, q) >= wanted else (low, middle)
    return low
