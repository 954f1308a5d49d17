"""What a certificate is, and what a method of certification must offer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.attacks import undisturbed
from martensite.core.config import Config
from martensite.core.errors import DataError, ModelError
from martensite.core.events import Listener, silent
from martensite.core.registry import Registry
from martensite.data.checks import check_inputs, check_labels
from martensite.models import Classifier, probe
from martensite.threat import Norm, ThreatModel

ABSTAIN = -1
SAME = 0.02  # of the largest logit: rounding differs with the batch, a broken promise by far more


@dataclass(frozen=True, eq=False)
class Certificates:
    """One certificate a sample.

    Attributes:
        radius: (n,) float64: no change shorter than this, in ``norm``, alters the certified prediction; 0 where it abstained.
        prediction: (n,) the certified class; -1 where it abstained.
        abstained: (n,) bool.
        samples: (n,) model evaluations spent on it.
        correct: (n,) bool: certified, and with the true class.
        norm: Of the radii.
        seconds: Wall time.
    """

    radius: Tensor
    prediction: Tensor
    abstained: Tensor
    samples: Tensor
    correct: Tensor
    norm: Norm
    seconds: float

    def certified(self, radius: float) -> Tensor:
        """(n,) bool: right class, and certified at this radius."""
        return self.correct & (self.radius >= radius) & ~self.abstained


class Certifier(Config):
    """Base of all methods of certification."""

    kind: str

    def certify(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel | None,
        radius: float | None,
        indices: Tensor,
        seed: int,
        listener: Listener,
    ) -> Certificates:
        """Certify samples; see `certify`."""
        raise NotImplementedError(f"{type(self).__name__} must define certify()")


CERTIFIERS: Registry[Certifier] = Registry("certifier", Certifier)


def certify(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    method: Certifier,
    *,
    threat: ThreatModel | None = None,
    radius: float | None = None,
    seed: int = 0,
    indices: Tensor | None = None,
    listener: Listener = silent,
) -> Certificates:
    """Certify the model's predictions on samples.

    Args:
        model: The model; its parameters and flags are left as they were.
        x: (n, *d) inputs in the box.
        y: (n,) true labels; a certificate of a wrong class counts for nothing.
        method: E.g. ``Smoothing(sigma=0.25)``.
        threat: What to certify against, for methods that certify a threat model.
        radius: Certify at this radius only, for methods that give radii; None: the largest radius they can.
        seed: Of all randomness.
        indices: (n,) index of each sample in its dataset, which names its random stream; None: 0..n-1.
        listener: Gets an event a sample.

    Raises:
        DataError: inputs or labels out of range, not one index a sample.
        ModelError: a wrong or non-finite output, or a model that isn't a fixed function of its input.
        ConfigError: parameters under which no certificate is possible.
    """
    check_inputs(x, model.box)
    check_labels(y, len(x), model.classes)
    places = torch.arange(len(x)) if indices is None else indices
    if tuple(places.shape) != (len(x),):
        raise DataError(f"indices has shape {tuple(places.shape)}", f"({len(x)},) is needed: one index a sample")
    _check_function(model, x[:1])
    with undisturbed(model), torch.inference_mode():
        return method.certify(model, x.to(model.device, model.dtype), y, threat, radius, places, seed, listener)


def _check_function(model: Classifier, x: Tensor) -> None:
    """Refuse a model whose answer depends on chance, or on what else is in the batch: it has no certificate."""
    company = [torch.full_like(x, end) for end in model.box]
    answers = torch.cat([probe(model, torch.cat([x, x, x, x, other]))[:-1] for other in company])
    if float((answers - answers[0]).abs().max()) > SAME * float(answers[0].abs().max()):
        raise ModelError(
            "the model answers one input in two ways",
            "a certificate is about a fixed function of the input",
            "take out what is random or mixes the samples of a batch, e.g. batch normalisation without running statistics",
        )
