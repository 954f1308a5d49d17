"""What a certificate is, and what a method of certification must offer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from martensite.certification.pool import BLOCK
from martensite.core.acts import Act, recorded
from martensite.core.config import Config
from martensite.core.errors import ConfigError, DataError, ModelError
from martensite.core.events import Listener, silent
from martensite.core.registry import Registry
from martensite.data.checks import check_inputs, check_labels
from martensite.models import Classifier, probe, undisturbed
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

ABSTAIN = -1
SAME = 0.02  # of the largest logit: rounding differs with the batch, a broken promise by far more
BATCH = 512  # noisy copies a pass, off the CPU


class CertificateRecord(Config):
    """What certificates rest on.

    Attributes:
        method: The certifier's configuration: noise, alpha, n and the rest.
        seed: Of all randomness.
        radius: The one radius certified at; None: the largest.
        radii: The radii tested; empty where the radius is a continuous bound.
        design: Digest of looks and thresholds; None where no sequence of looks is involved.
        spent: Bound on the chance of a false certificate for one input; 0 where nothing is random.
        dtype: Floating type that the model computed in.
        model_digest: Of weights and input conventions.
        threat: The threat model, where the method certifies one.
    """

    method: dict[str, Any]
    seed: int
    radius: float | None
    radii: tuple[float, ...]
    design: str | None
    spent: float
    dtype: str
    model_digest: str
    threat: ThreatModel | None = None


@dataclass(frozen=True, eq=False)
class Certificates:
    """One certificate a sample.

    Attributes:
        radius: (n,) float64: no change of at most this size, in ``norm``, alters the certified prediction; 0 where it abstained.
        prediction: (n,) the certified class; -1 where it abstained.
        abstained: (n,) bool.
        samples: (n,) model evaluations spent on it.
        correct: (n,) bool: certified, and with the true class.
        norm: Of the radii: ``"l2"``, ``"linf"``, ``"l1"``, ``"l0"`` (pixels), or ``"patch"`` (side of a square, in pixels).
        seconds: Wall time.
        agreement: (n,) float64 share of the noisy copies that voted for the guessed class, an estimate of p_A; None where
            the method has no votes.
        record: What the certificates rest on.
        margins: (n,) float64 lower bound, over the threat model's ball, on the logit of the clean prediction less the next one;
            None where the method bounds none.
    """

    radius: Tensor
    prediction: Tensor
    abstained: Tensor
    samples: Tensor
    correct: Tensor
    norm: str
    seconds: float
    agreement: Tensor | None = None
    record: CertificateRecord | None = None
    margins: Tensor | None = None

    def certified(self, radius: float) -> Tensor:
        """(n,) bool: right class, and certified at this radius."""
        return self.correct & (self.radius >= radius) & ~self.abstained

    def curve(self, radii: list[float]) -> Tensor:
        """Certified accuracy, a fraction, at each of the radii."""
        return torch.tensor([float(self.certified(radius).double().mean()) for radius in radii], dtype=torch.float64)

    @property
    def average_radius(self) -> float:
        """Average certified radius (Zhai et al. 2020, MACER, arXiv:2001.02378): wrong predictions and abstentions count 0.

        A weak figure: a few easy inputs with long radii outweigh many that lost theirs (Sun et al. 2024, arXiv:2410.06895), and
        it grows with the radii that n allows. Compare curves.
        """
        return float(torch.where(self.correct, self.radius, 0.0).mean())


class Certifier(Config):
    """Base of all methods of certification."""

    kind: str

    def certify(self, model: Classifier, x: Tensor, y: Tensor, job: "Job") -> Certificates:
        """Certify samples; see `certify`."""
        raise NotImplementedError(f"{type(self).__name__} must define certify()")


CERTIFIERS: Registry[Certifier] = Registry("certifier", Certifier)


@dataclass(frozen=True)
class Job:
    """The circumstances of a call of `certify`; see there."""

    threat: ThreatModel | None
    radius: float | None
    indices: Tensor
    seed: int
    batch_size: int
    store: Path | None
    listener: Listener


def _certified(given: Mapping[str, Any], certificates: Certificates | None) -> Act:
    details = {"method": given["method"].kind, "n": len(given["x"]), "seed": given["seed"]}
    if certificates is not None:
        details |= {"correct": int(certificates.correct.sum()), "abstained": int(certificates.abstained.sum())}
    return Act("model", model_digest(given["model"]), details=details)


@recorded("certify", _certified, announced=True)
def certify(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    method: Certifier,
    *,
    threat: ThreatModel | None = None,
    radius: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    indices: Tensor | None = None,
    store: Path | None = None,
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
        batch_size: Inputs a pass; the random draws don't depend on it. None: what a CPU's caches hold, elsewhere 512.
        indices: (n,) index of each sample in its dataset, which names its random stream; None: 0..n-1.
        store: Folder for finished inputs, from which a run that was killed goes on; None: nothing is kept.
        listener: Gets an event a sample.

    Raises:
        DataError: inputs or labels out of range, not one index a sample.
        ModelError: a wrong or non-finite output, or a model that isn't a fixed function of its input.
        ConfigError: parameters under which no certificate is possible.
        StorageError: the disk refused what is kept.
    """
    check_inputs(x, model.box)
    check_labels(y, len(x), model.classes)
    if radius is not None and not 0 < radius < float("inf"):
        raise ConfigError(
            f"radius is {radius:g}", "a radius to certify is positive and finite", "leave it out for the largest one"
        )
    places = torch.arange(len(x)) if indices is None else indices
    if tuple(places.shape) != (len(x),):
        raise DataError(f"indices has shape {tuple(places.shape)}", f"({len(x)},) is needed: one index a sample")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}", "a batch has at least one input", "e.g. 256")
    check_function(model, x[:1])
    job = Job(threat, radius, places, seed, batch_size or pass_size(model, x), store, listener)
    with undisturbed(model), torch.inference_mode():
        return method.certify(model, x.to(model.device, model.dtype), y.cpu(), job)


def pass_size(model: Classifier, x: Tensor) -> int:
    """Inputs a pass: on a CPU as many as leave their activations in the caches, and a block at least."""
    if model.device.type != "cpu":
        return BATCH
    return torch.get_num_threads() * max(BLOCK, 50_000 // max(x[0].numel(), 1))


def check_function(model: Classifier, x: Tensor) -> None:
    """Refuse a model whose answer depends on chance, or on what else is in the batch: it has no certificate.

    Args:
        model: The model.
        x: (1, *d) an input.

    Raises:
        ModelError: it answers one input in two ways.
    """
    company = [torch.full_like(x, end) for end in model.box]
    answers = torch.cat([probe(model, torch.cat([x, x, x, x, other]))[:-1] for other in company])
    if float((answers - answers[0]).abs().max()) > SAME * float(answers[0].abs().max()):
        raise ModelError(
            "the model answers one input in two ways",
            "a certificate is about a fixed function of the input",
            "take out what is random or mixes the samples of a batch, e.g. batch normalisation without running statistics",
        )
