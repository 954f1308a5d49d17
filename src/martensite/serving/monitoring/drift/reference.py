"""Reference statistics: how the data looked that the model was evaluated on, as drift is measured from there.

They lie in the bundle as reference.safetensors, listed in model.json with their digest, so that the bundle's signature covers
them: whoever could change them could hide a drift, or feign one. No sample can be put together again from them: each feature's
values are sorted by themselves.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load, save

from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError, DataError
from martensite.core.rng import derive
from martensite.data.dataset import Dataset
from martensite.defenses import Defended
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.serving.monitoring.drift.embedding import Embedding
from martensite.serving.monitoring.drift.scores import confidence, unlikeness
from martensite.serving.monitoring.drift.views import names, view

LEAST, MOST = 100, 2000  # samples
EMBEDDED = 500  # of them whose embeddings are kept
FLOOR = 0.05  # of the spread of all features together, below which none counts as smaller
TENSORS = (
    "features", "mean", "spread", "embeddings", "unlikeness", "confidence", "p_values", "predicted", "labels",
)  # fmt: skip
Floats = npt.NDArray[np.float32]


class About(Config):
    """What the statistics are of.

    Attributes:
        model: ``"sha256:..."`` of the model.
        shape: Of one input.
        classes: K.
        data: Name, split and digest of the data.
        n: Samples.
        seed: Of which were drawn.
    """

    format: str = "martensite-reference-1"
    model: str
    shape: tuple[int, ...]
    classes: int
    data: dict[str, str]
    n: int
    seed: int


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of n samples in random order; those at even places choose scales and bins, the others are compared with.

    Attributes:
        about: What they are of.
        features: (n, p) float32, see `view`; each column rising.
        mean: (p,) float32 of the features at even places.
        spread: (p,) float32, their standard deviations, enlarged so that none is 0.
        embeddings: (e, f) float32 of the first e samples.
        unlikeness: (n,) float32, see `scores`.
        confidence: (n,) float32, likewise.
        p_values: (n,) float32 of the detectors; empty without any.
        predicted: (n,) int64.
        labels: (n,) int64.
    """

    about: About
    features: Floats
    mean: Floats
    spread: Floats
    embeddings: Floats
    unlikeness: Floats
    confidence: Floats
    p_values: Floats
    predicted: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, model: Classifier, data: Dataset, *, samples: int = MOST, seed: int = 0) -> "Reference":
        """Take the statistics.

        Args:
            model: As it will serve, its defences included.
            data: Samples that the model, its detectors' calibration and whoever chose it have not seen; the test data.
            samples: Most that are taken.
            seed: Of which ones.

        Raises:
            DataError: too few samples, or data that doesn't fit the model.
        """
        if len(data) < LEAST:
            raise DataError(f"{len(data)} samples", f"a drift is measured from at least {LEAST}", "give more data")
        if data.classes != model.classes or tuple(data.box) != tuple(model.box):
            raise DataError(
                f"the data has {data.classes} classes in the box {list(data.box)}",
                f"the model has {model.classes} in {list(model.box)}",
                "give data of the kind that the model is for",
            )
        chance = np.random.default_rng(derive(seed, "reference"))
        rows = torch.from_numpy(chance.permutation(len(data))[: min(samples, len(data))].copy())
        x, y = data.x[rows], data.y[rows]
        logits, p_values = _ask(model, x)
        shown = x.float().numpy()
        about = About(
            model=model_digest(model),
            shape=tuple(x.shape[1:]),
            classes=model.classes,
            data={"name": data.name, "split": data.split, "digest": data.digest},
            n=len(x),
            seed=seed,
        )
        features = view(shown).astype(np.float32)
        mean, deviation = features[::2].mean(0), features[::2].std(0)
        spread = np.sqrt(np.square(deviation) + np.square(FLOOR * features[::2].std()) + 1e-12)
        return cls(
            about=about,
            features=np.sort(features, axis=0),
            mean=mean,
            spread=spread.astype(np.float32),
            embeddings=Embedding(model)(shown[:EMBEDDED]),
            unlikeness=unlikeness(features, mean, spread).astype(np.float32),
            confidence=confidence(logits).astype(np.float32),
            p_values=p_values.astype(np.float32),
            predicted=logits.argmax(1).astype(np.int64),
            labels=y.numpy().astype(np.int64),
        )

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(K, K) counts: prediction by row, label by column."""
        k = self.about.classes
        return np.bincount(self.predicted * k + self.labels, minlength=k * k).reshape(k, k)

    @property
    def accuracy(self) -> float:
        """Share that the model gets right."""
        return float((self.predicted == self.labels).mean())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One a column of features."""
        return names(self.about.shape)

    def to_bytes(self) -> bytes:
        """As safetensors, with what they are about as metadata."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in TENSORS}
        metadata = {"about": json.dumps(self.about.model_dump(mode="json"), sort_keys=True)}
        return save(tensors, metadata)

    @classmethod
    def from_bytes(cls, content: bytes, model: str) -> "Reference":
        """Read what `to_bytes` wrote.

        Args:
            content: Of the file.
            model: Digest of the model that they must be of.

        Raises:
            ArtifactError: no such file, or statistics of another model.
        """
        try:
            tensors: dict[str, Any] = load(content)
            size = int.from_bytes(content[:8], "little")
            about = About.parse(json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"]))
            found = cls(about=about, **tensors)
            found.check()
        except Exception as error:  # whatever numpy and safetensors make of bytes that someone altered
            reason = " ".join(str(error).split())[:200]
            raise ArtifactError(f"these are no reference statistics: {reason}", "", "martensite reference BUNDLE DATA") from None
        if about.model != model:
            raise ArtifactError(
                f"the reference statistics are of the model {about.model[:19]}...",
                f"the bundle holds {model[:19]}...",
                "martensite reference BUNDLE DATA",
            )
        return found

    def check(self) -> None:
        """Refuse tensors that don't fit each other.

        Raises:
            ConfigError: they don't.
        """
        n, p = self.about.n, len(self.feature_names)
        wanted = {
            "features": (n, p), "mean": (p,), "spread": (p,), "unlikeness": (n,), "confidence": (n,), "predicted": (n,),
            "labels": (n,), "p_values": (len(self.p_values) and n,),
            "embeddings": (min(n, EMBEDDED), *self.embeddings.shape[1:2]),
        }  # fmt: skip
        for name, shape in wanted.items():
            tensor = getattr(self, name)
            if tensor.shape != shape or not np.isfinite(tensor).all():
                raise ConfigError(f"{name} has the shape {tensor.shape}", f"{shape} finite numbers are needed")
        if n < LEAST or not (self.spread > 0).all() or (np.diff(self.features, axis=0) < 0).any():
            raise ConfigError("too few samples, a spread of 0, or features that don't rise")
        for name in ("predicted", "labels"):
            tensor = getattr(self, name)
            if tensor.dtype != np.int64 or tensor.min() < 0 or tensor.max() >= self.about.classes:
                raise ConfigError(f"{name} holds classes that the model doesn't have")


def _ask(model: Classifier, x: torch.Tensor) -> tuple[Floats, Floats]:
    """Logits, and the detectors' p-values."""
    if isinstance(model, Defended):
        response = model.respond(x)
        p = response.p_value
        return response.logits.float().numpy(), np.zeros(0, np.float32) if p is None else p.float().numpy()
    with torch.inference_mode():
        parts = [model(part.to(model.device, model.dtype)).float().cpu() for part in torch.split(x, 250)]
    return torch.cat(parts).numpy(), np.zeros(0, np.float32)
