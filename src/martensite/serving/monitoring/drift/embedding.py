"""Where a model puts its inputs: the inputs of its last linear layer, or its logits where it has none."""

import numpy as np
import numpy.typing as npt
import torch

from martensite.core.errors import ModelError
from martensite.core.rng import derive
from martensite.defenses import Defended
from martensite.defenses.features import Penultimate
from martensite.models import Classifier

WIDTH = 64  # numbers an input; wider features are projected at random
PART = 250


class Embedding:
    """A function from inputs (n, *d) to (n, f) float32, f at most 64.

    Args:
        model: Defended or not: what stands around it has no part in it.
    """

    def __init__(self, model: Classifier) -> None:
        self._model = model.base if isinstance(model, Defended) else model
        self._features: Penultimate | None = None
        self._checked = False
        self._project: torch.Tensor | None = None

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The embeddings of inputs in the box."""
        model = self._model
        with torch.inference_mode():
            parts = [self._one(part.to(model.device, model.dtype)) for part in torch.split(torch.from_numpy(x), PART)]
        return torch.cat(parts).numpy()

    def _one(self, x: torch.Tensor) -> torch.Tensor:
        if not self._checked:
            self._features, self._checked = self._found(x[:2]), True
        found = (self._features(x) if self._features is not None else self._model(x)).float().cpu()
        if found.shape[1] <= WIDTH:
            return found
        if self._project is None:
            chance = torch.Generator().manual_seed(derive(0, "embedding", found.shape[1]))
            self._project = torch.randn(found.shape[1], WIDTH, generator=chance) / WIDTH**0.5
        return found @ self._project

    def _found(self, x: torch.Tensor) -> Penultimate | None:
        try:
            features = Penultimate(self._model)
            features.check(x)
        except ModelError:
            return None
        return features
