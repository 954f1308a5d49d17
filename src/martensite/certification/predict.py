"""The smoothed classifier's answer, for serving: a majority vote under noise, or an abstention.

Cohen et al. 2019, arXiv:1902.02918, procedure PREDICT of sec. 3.2.1 (Hung and Fithian 2019): the winner of n votes is returned
if a two-sided binomial test rejects, at level alpha, that it and the runner-up are equally likely. With probability at least
1 - alpha the answer is an abstention or the class that wins most often: the one that certificates are about.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.certification.certifier import ABSTAIN, check_function, pass_size
from martensite.certification.fair_coin import two_sided
from martensite.certification.plan import Plan
from martensite.certification.pool import Pool
from martensite.certification.sampled import Sampled
from martensite.core.errors import ConfigError
from martensite.data.checks import check_inputs
from martensite.models import Classifier, undisturbed


@dataclass(frozen=True, eq=False)
class SmoothedPrediction:
    """Answers of a smoothed classifier.

    Attributes:
        prediction: (n,) the class that wins under noise; -1 where it abstained.
        abstained: (n,) bool.
        counts: (n, K) votes.
    """

    prediction: Tensor
    abstained: Tensor
    counts: Tensor


def predict(
    model: Classifier,
    x: Tensor,
    method: Sampled,
    *,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    batch_size: int | None = None,
) -> SmoothedPrediction:
    """Answer for inputs (n, *d) by a vote of ``n`` noisy copies each.

    Args:
        model: The base classifier.
        x: Inputs in the box.
        method: Its noise is used, e.g. that of ``Smoothing(sigma=0.25)``; not its n and alpha.
        n: Votes an input.
        alpha: Chance that an answer isn't the most likely class, in (0, 1).
        seed: Of the noise; take another one for each request.
        batch_size: Noisy copies a pass; None: as in `certify`.

    Raises:
        DataError: inputs out of range.
        ConfigError: alpha outside (0, 1), or too few votes for any answer: the message says the least number.
        ModelError: a wrong or non-finite output, or a model that isn't a fixed function of its input.
    """
    check_inputs(x, model.box)
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}", "it lies strictly between 0 and 1", "e.g. 0.001")
    least = next(votes for votes in range(1, 10_000) if 2.0 ** (1 - votes) <= alpha)
    if n < least:
        raise ConfigError(f"n is {n} at alpha {alpha:g}", "no vote could be clear enough", f"give n of at least {least}")
    check_function(model, x[:1])
    with undisturbed(model), torch.inference_mode():
        shown = x.to(model.device, model.dtype)
        method.check_inputs(shown)
        places = torch.arange(len(x))
        batch = batch_size or pass_size(model, x)
        pool = Pool(model, shown, places, method.noisy, Plan((), n), seed, "certify/predict", batch)
        tallies = pool.run([0] * len(x), None, lambda place, tally: None)
    counts = torch.tensor([tally.counts for tally in tallies])
    top = counts.topk(2, dim=1)
    first, second = top.values[:, 0].numpy(), top.values[:, 1].numpy()
    unclear = torch.from_numpy(two_sided(first, second) > alpha)
    return SmoothedPrediction(torch.where(unclear, ABSTAIN, top.indices[:, 0]), unclear, counts)
