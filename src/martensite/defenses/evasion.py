"""The defended model as an attacker of one class sees it: to get through, a wrong answer must also go unnoticed."""

import torch
from torch import Tensor, nn

from martensite.defenses.defended import Defended
from martensite.models import Classifier


class Evasion(Classifier):
    """K logits of a defended model for inputs whose class is known; see `Defended.judged`.

    Every attack and the judge take it for a plain classifier: what breaks it breaks the model and evades its detectors.

    Args:
        model: The defended model; its weights are shared.
        label: The class of all samples that will be asked about.
    """

    def __init__(self, model: Defended, label: int) -> None:
        super().__init__(_Judged(model, label), model.classes, box=model.box, shape=model.shape)


class _Judged(nn.Module):
    def __init__(self, model: Defended, label: int) -> None:
        super().__init__()
        self.model, self.label = model, label
        self.conventions = {"judged": label, "model": model.net.conventions}

    def forward(self, x: Tensor) -> Tensor:
        return self.model.judged(x, torch.full((len(x),), self.label, device=x.device))
