"""Smoothed prediction: a vote under Gaussian noise, or an abstention.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918, procedure PREDICT
of sec. 3.2.1, as `certification.predict` has it for one request. An attack follows the gradient of the mean probability under
noise (Salman et al. 2019, "Provably robust deep learning via adversarially trained smoothed classifiers", arXiv:1906.04584,
eq. 5).
"""

import math
from typing import Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn.functional import one_hot

from martensite.certification.fair_coin import two_sided
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.rng import Streams, generator
from martensite.defenses.transform import replaced
from martensite.models import Classifier

BLOCK = 10  # noisy copies of the whole batch a pass
DEEPEST = -30.0  # of a logarithm that still orders


class Voting(Config):
    """A majority of noisy copies.

    Args:
        sigma: Standard deviation of the noise, in input units.
        votes: Noisy copies an answer; at least 11 for alpha 0.001.
        alpha: Chance that an answer isn't the most likely class, in (0, 1); where that is too large, it abstains.
        gradient_draws: Noisy copies that the attack's gradient is a mean over.
    """

    sigma: PositiveFloat
    votes: int = Field(default=100, ge=1, le=1_000_000)
    alpha: float = Field(default=0.001, gt=0.0, lt=1.0)
    gradient_draws: int = Field(default=8, ge=1, le=1000)

    def model_post_init(self, context: Any) -> None:
        """Refuse a vote that could never be clear."""
        least = 1 + math.ceil(-math.log2(self.alpha))
        if self.votes < least:
            raise ConfigError(f"votes is {self.votes} at alpha {self.alpha:g}", "no vote could be clear enough", f"give {least}")

    def answer(self, model: Classifier, x: Tensor, seed: int, rng: Streams) -> tuple[Tensor, Tensor]:
        """The vote on inputs (n, *d) in the box.

        Args:
            model: The base classifier.
            x: The inputs.
            seed: Of the votes' noise.
            rng: Of the gradient's noise, one stream a sample.

        Returns:
            (n, K) logits, the logarithm of each class's share of the votes, with a gradient where that is enabled; (n,) what is
            positive exactly where it abstains, the logarithm of the p-value over alpha, without one.
        """
        votes = self.count(model, x.detach().clamp(*model.box), seed)
        top = votes.topk(2, dim=1).values.cpu().numpy()
        chance = torch.from_numpy(two_sided(top[:, 0], top[:, 1])).clamp_(min=1e-300)
        unsure = (chance / self.alpha).log().to(x.device)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return shares(votes.to(x)), unsure
        soft = self._soft(model, x, rng)
        return replaced(shares(votes.to(x), soft.detach()), soft), unsure

    @torch.no_grad()
    def count(self, model: Classifier, x: Tensor, seed: int) -> Tensor:
        """(n, K) int64 votes of noisy copies of inputs (n, *d)."""
        draws, total = generator(seed, "votes"), torch.zeros(len(x), model.classes, dtype=torch.int64, device=x.device)
        for start in range(0, self.votes, BLOCK):
            block = min(BLOCK, self.votes - start)
            noise = torch.randn(block, *x.shape, generator=draws).to(x)
            winners = model((x + self.sigma * noise).flatten(0, 1)).argmax(1).view(block, len(x))
            total += one_hot(winners, model.classes).sum(0)
        return total

    def _soft(self, model: Classifier, x: Tensor, rng: Streams) -> Tensor:
        """(n, K) logarithm of the mean probability."""
        noise = rng.normal((self.gradient_draws, *x.shape[1:])).to(x).transpose(0, 1)
        each = torch.stack([model(x + self.sigma * one).log_softmax(1) for one in noise])
        return each.logsumexp(0) - torch.tensor(float(self.gradient_draws)).log().to(x)

    def __str__(self) -> str:
        return f"voting(sigma={self.sigma:g}, votes={self.votes})"


def shares(votes: Tensor, tie: Tensor | None = None) -> Tensor:
    """(n, K) the logarithm of each class's share of the votes (n, K), half a vote added to each.

    Args:
        votes: Whole numbers.
        tie: (n, K) logarithms of probabilities that order classes with as many votes. Without an order an attack could not tell
            which of the classes that nobody votes for is the nearest.
    """
    extra = 0.0 if tie is None else 0.4 * (1.0 + tie.clamp(DEEPEST, 0.0) / -DEEPEST)
    counted = votes + 0.5 + extra
    return (counted / counted.sum(1, keepdim=True)).log()
