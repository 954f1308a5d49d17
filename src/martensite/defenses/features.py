"""What a network knows before it decides: the inputs of its last linear layer."""

import copy

import torch
from torch import Tensor, nn

from martensite.core.errors import ModelError
from martensite.models import Classifier
from martensite.models.passes import by_parts

CLOSE = 1e-3  # of the largest logit: how far the last layer's answer may be from the model's


class Penultimate:
    """The features of a model, and its logits from them, in one pass.

    They are the inputs of the last ``torch.nn.Linear`` of the network, found without a hook: a copy of the containers on the way
    to that layer, sharing every weight, has the identity in its place. So several threads may ask at once. A network with a
    method ``features`` of its own is asked instead.

    Args:
        model: The classifier.

    Raises:
        ModelError: no linear layer.
    """

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self._own = callable(getattr(model.net, "features", None))
        self._features = None if self._own else feature_network(model.net)
        self._last = None if self._own else model.net.get_submodule(_last_linear(model.net))

    def __call__(self, x: Tensor) -> Tensor:
        """(n, f) features of inputs (n, *d) in the box."""
        shown = self.model.normalise(x) if self.model.normalises else x
        if self._own:
            found = self.model.net.features(shown)  # type: ignore[operator]
            return found.flatten(1)  # type: ignore[no-any-return]
        return self._features(shown).flatten(1)  # type: ignore[no-any-return, misc]

    def logits(self, features: Tensor, x: Tensor) -> Tensor:
        """(n, K) logits that belong to the features (n, f) of the inputs x."""
        return by_parts(self.model, x) if self._last is None else self._last(features)

    def check(self, x: Tensor) -> None:
        """Refuse a network in which something follows the last linear layer.

        Args:
            x: (n, *d) a few inputs.

        Raises:
            ModelError: the layer's answer isn't the model's.
        """
        with torch.no_grad():
            logits = self.model(x)
            try:
                again = self.logits(self(x), x)
                off = float((again - logits).abs().max()) if again.shape == logits.shape else float("inf")
            except RuntimeError:
                off = float("inf")
        if off > CLOSE * max(float(logits.abs().max()), 1e-6):
            raise ModelError(
                f"the network ({type(self.model.net).__name__}) does not end in its last linear layer",
                "features are that layer's inputs",
                "give it a method features(x), or use a detector that reads logits: energy, squeezing",
            )


def feature_network(net: nn.Module) -> nn.Module:
    """The network with the identity in place of its last linear layer; every weight is shared.

    Raises:
        ModelError: it has none.
    """
    return _without(net, [part for part in _last_linear(net).split(".") if part])


def _last_linear(net: nn.Module) -> str:
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise ModelError(
            f"the network ({type(net).__name__}) has no linear layer",
            "features are the inputs of the last one",
            "give it a method features(x), or use a detector that reads logits: energy, squeezing",
        )
    return str(names[-1])


def _without(module: nn.Module, path: list[str]) -> nn.Module:
    if not path:
        return nn.Identity()
    twin, name = copy.copy(module), path[0]
    inner: nn.Module = module._modules[name]  # type: ignore[assignment]
    twin._modules = {**module._modules, name: _without(inner, path[1:])}
    return twin


@torch.no_grad()
def gathered(model: Classifier, x: Tensor) -> Tensor:
    """(n, f) features of any number of inputs, batch by batch."""
    penultimate = Penultimate(model)
    return torch.cat([penultimate(part) for part in torch.split(x, 250)])
