"""One look at a batch: what several detectors and the answer itself need of the model, computed once."""

from functools import cached_property

from torch import Tensor

from martensite.defenses.features import Penultimate
from martensite.models import Classifier
from martensite.models.passes import by_parts


class Look:
    """A batch and what the bare model makes of it, with gradients where they are enabled.

    Args:
        model: The bare model.
        x: (n, *d) in the box, on the model's device and of its type.
        features: Somebody will ask for features: logits then come from the same pass.
    """

    def __init__(self, model: Classifier, x: Tensor, features: Penultimate | None = None) -> None:
        self.model, self.x, self._penultimate = model, x, features

    @cached_property
    def features(self) -> Tensor:
        """(n, f) inputs of the last linear layer."""
        return by_parts(self._penultimate or Penultimate(self.model), self.x)

    @cached_property
    def logits(self) -> Tensor:
        """(n, K) logits of the bare model."""
        if self._penultimate is None:
            return by_parts(self.model, self.x)
        return self._penultimate.logits(self.features, self.x)
