"""Smoothed prediction: a vote under Gaussian noise, or an abstention.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918, procedure PREDICT
of sec. 3.2.1; see `certification.predict`. An attack follows the gradient of the mean probability under noise (Salman et al.
2019, "Provably robust deep learning via adversarially trained smoothed classifiers", arXiv:1906.04584, eq. 5).
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.stats import binom
from torch import Tensor

from martensite.certification import Smoothing
from martensite.certification.predict import predict
from martensite.core.config import Config
from martensite.core.rng import Streams
from martensite.defenses.transform import replaced
from martensite.models import Classifier


class Voting(Config):
    """A majority of noisy copies.

    Args:
        sigma: Standard deviation of the noise, in input units.
        votes: Noisy copies an answer; at least 11 for alpha 0.001.
        alpha: Chance that an answer isn't the most likely class, in (0, 1); where that is too large, it abstains.
        gradient_draws: Noisy copies that the attack's gradient is a mean over.
    """

    sigma: PositiveFloat
    votes: PositiveInt = 100
    alpha: float = Field(default=0.001, gt=0.0, lt=1.0)
    gradient_draws: PositiveInt = 8

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
        shown = x.detach().clamp(*model.box)
        with torch.inference_mode(False), torch.no_grad():
            vote = predict(model, shown, Smoothing(sigma=self.sigma), n=self.votes, alpha=self.alpha, seed=seed)
        counts = vote.counts.to(x)
        logits = ((counts + 0.5) / (self.votes + 0.5 * model.classes)).log()
        top = vote.counts.topk(2, dim=1).values.numpy()
        chance = torch.from_numpy(2.0 * binom.sf(top[:, 0] - 1, top[:, 0] + top[:, 1], 0.5)).to(x.device)
        unsure = torch.where(vote.abstained.to(x.device), 1.0, -1.0) * (chance.clamp_min(1e-300) / self.alpha).log().abs().add(
            1e-9
        )
        if not (torch.is_grad_enabled() and x.requires_grad):
            return logits, unsure
        return replaced(logits, self._soft(model, x, rng)), unsure

    def _soft(self, model: Classifier, x: Tensor, rng: Streams) -> Tensor:
        """(n, K) logarithm of the mean probability."""
        noise = rng.normal((self.gradient_draws, *x.shape[1:])).to(x).transpose(0, 1)
        each = torch.stack([model(x + self.sigma * one).log_softmax(1) for one in noise])
        return each.logsumexp(0) - torch.tensor(float(self.gradient_draws)).log().to(x)

    def __str__(self) -> str:
        return f"voting(sigma={self.sigma:g}, votes={self.votes})"
