"""What a run sees, at no cost, that bears on how far its figures can be trusted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.oracle import Oracle
from martensite.models.access import Access

FLAT = 0.1  # a warning is due if the gradient vanishes on more than this share of the samples
PROBABILITIES = (
    "the model's outputs are probabilities (none negative, each sample's sum is 1) where logits are needed: losses "
    "saturate and gradients vanish, so robustness may be overestimated; return the logits, without the softmax"
)
SUM = 1e-3  # how far from one the sum of a sample's outputs may be


def warnings(method: Attack, logits: Tensor | None, oracles: Sequence[Oracle]) -> tuple[str, ...]:
    """One sentence for each thing that is suspicious.

    Args:
        method: The attack that ran.
        logits: (n, K) what the model that was searched answers, at clean inputs or near them; None: it was not asked.
        oracles: All that the search asked.
    """
    found = []
    if method.needs >= Access.GRADIENTS and logits is not None and probabilities(logits):
        found.append(PROBABILITIES)
    flat, seen, odd = (sum(getattr(oracle.slopes, name) for oracle in oracles) for name in ("flat", "seen", "odd"))
    if odd:
        found.append(
            f"{method.kind}: {odd:,} gradients, one a sample and step, held NaN or infinite entries, which were taken for 0 and "
            "for the steepest finite slope, so robustness may be overestimated; look for a square root, logarithm or division at "
            "0, or add an attack by scores such as square"
        )
    return (*found, *gradient_warning(method.kind, flat, seen))


def gradient_warning(kind: str, flat: int, seen: int) -> tuple[str, ...]:
    """What there is to say of an attack whose gradient led nowhere on ``flat`` of ``seen`` samples; nothing, if on few."""
    if flat <= FLAT * seen:
        return ()
    return (
        f"{kind}: the gradient is zero, or next to it, where the search began for {flat:,} of {seen:,} samples: it is masked, "
        "or the loss is saturated, so robustness may be overestimated; try the loss margin or dlr, an attack by scores such "
        "as square, or BPDA for a stage without a gradient",
    )


def probabilities(logits: Tensor) -> bool:
    """Whether outputs (n, K), n >= 1, are all non-negative and sum to one, sample by sample."""
    return len(logits) > 0 and bool((logits >= 0).all()) and bool(((logits.sum(1, dtype=torch.float64) - 1).abs() < SUM).all())
