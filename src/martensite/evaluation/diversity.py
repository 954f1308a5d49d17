"""How different the members of an ensemble are: an ensemble whose members fall together is no better than one of them.

Transfer: Papernot, McDaniel and Goodfellow 2016, arXiv:1605.07277, sec. 3. Alignment of gradients: Kariyappa and Qureshi 2019,
"Improving adversarial robustness of ensembles with diversity training", arXiv:1901.09981, sec. 3.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from martensite.attacks import PGD, Attack
from martensite.core.config import Config
from martensite.data.dataset import Dataset
from martensite.evaluation.transferability import TransferMatrix, transfer_matrix
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel

BATCH = 125


class Diversity(Config):
    """What tells members apart.

    Attributes:
        transfer: How far adversarials of one break another; off the diagonal, less is more diverse.
        cosine: Mean cosine of the angle between two members' loss gradients at the clean inputs, in [-1, 1]; 1: the same
            direction.
        disagreement: Share of the clean inputs on which not all members predict the same class.
        n: Samples.
    """

    transfer: TransferMatrix
    cosine: tuple[tuple[float, ...], ...]
    disagreement: float
    n: int

    @property
    def mean_cosine(self) -> float:
        """Over the pairs of members."""
        pairs = [value for row, values in enumerate(self.cosine) for value in values[row + 1 :]]
        return sum(pairs) / len(pairs)


def diversity(
    models: Mapping[str, Classifier], data: Dataset, threat: ThreatModel, method: Attack | None = None, *, seed: int = 0
) -> Diversity:
    """Measure the diversity of models that answer together.

    Args:
        models: Two or more, by name; of an ensemble, `defenses.members_of` gives them.
        data: Labelled samples.
        threat: What the adversarials of the transfer matrix may do.
        method: What makes them; None: PGD with 20 steps on the margin.
        seed: Of that.

    Raises:
        MartensiteError: see `transfer_matrix`.
    """
    method = PGD(steps=20, loss="margin") if method is None else method
    gradients, answers = zip(*(_slopes(model, data) for model in models.values()), strict=True)
    cosine = tuple(
        tuple(float(cosine_similarity(one, other, dim=1).clamp(-1, 1).mean()) for other in gradients) for one in gradients
    )
    apart = torch.stack(answers)
    return Diversity(
        transfer=transfer_matrix(models, data, threat, method, seed=seed),
        cosine=cosine,
        disagreement=float((apart != apart[0]).any(0).double().mean()),
        n=len(data),
    )


def _slopes(model: Classifier, data: Dataset) -> tuple[Tensor, Tensor]:
    """(n, d) float64 gradients of the cross-entropy with respect to the inputs; (n,) predictions."""
    found, predicted = [], []
    with undisturbed(model), torch.enable_grad():
        for x, y in zip(torch.split(data.x, BATCH), torch.split(data.y, BATCH), strict=True):
            leaf = x.to(model.device, model.dtype, copy=True).requires_grad_(True)
            logits = model(leaf)
            (gradient,) = torch.autograd.grad(cross_entropy(logits, y.to(model.device), reduction="sum"), leaf)
            found.append(gradient.flatten(1).double().cpu())
            predicted.append(logits.detach().argmax(1).cpu())
    return torch.cat(found), torch.cat(predicted)
