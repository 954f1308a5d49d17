"""Levels of windows that never end: together they spend alpha, and no more."""


def level(alpha: float, window: int) -> float:
    """The level of the window of that number, from 1: alpha / (k (k + 1)), whose sum over all k is alpha.

    By the union bound the probability that any window ever rings without drift is at most alpha, whatever the windows share: here
    all of them are compared with the same reference.
    """
    return alpha / (window * (window + 1))
