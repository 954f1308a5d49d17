"""An attack that works on images only refuses other inputs before anything is asked; one sample's trouble is another matter."""

import pytest
import torch
from torch import nn

from martensite.attacks import DIFGSM, EOT, TIFGSM, Corruptions, Patch, RotationTranslation, attack
from martensite.core.errors import ThreatError
from martensite.models import Classifier
from martensite.threat import ThreatModel


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 12, 12)], ids=["table", "sequence", "video"])
@pytest.mark.parametrize(
    ("method", "norm"),
    [(DIFGSM(), "linf"), (TIFGSM(), "linf"), (Patch(), "l0"), (RotationTranslation(), "linf"), (Corruptions(), "linf"),
     (EOT(attack=DIFGSM()), "linf")],
    ids=lambda value: getattr(value, "kind", value),
)  # fmt: skip
def test_other_shapes_are_refused_before_the_model_is_asked(method, norm, shape):
    asked = []

    class Watched(nn.Flatten):
        def forward(self, x):
            asked.append(len(x))
            return super().forward(x)

    x = torch.rand(2, *shape)
    model = Classifier(nn.Sequential(Watched(), nn.Linear(x[0].numel(), 2)), 2)
    with pytest.raises(ThreatError, match=str(shape[0])):
        attack(method, model, x, torch.tensor([0, 1]), ThreatModel(norm=norm, eps=3.0 if norm == "l0" else 0.1))
    assert not asked
