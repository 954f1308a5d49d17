"""The models that the certification benchmark runs on: small_cnn of width 16, trained on MNIST under Gaussian noise, cached.

Run alone, it trains them (some minutes on one core each): python benchmarks/noisy_model.py 0.25 0.5
"""

import sys
from typing import Literal

import torch
from bench_model import CACHE, mnist
from torch import Tensor
from torch.nn.functional import cross_entropy

import martensite as mt
from martensite.core.events import Event
from martensite.training import TrainingSettings
from martensite.training.context import Context
from martensite.training.loop import fit
from martensite.training.objective import LossParts, Objective


class Noisy(Objective):
    """Cross-entropy on inputs under Gaussian noise (Cohen et al. 2019, sec. 3.3)."""

    kind: Literal["noisy"] = "noisy"
    sigma: float

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """ce(f(x + sigma * noise), y); the loop lends torch's global stream a seed of its own."""
        return LossParts(cross_entropy(context.logits(x + self.sigma * torch.randn_like(x)), y))


def noisy_model(sigma: float) -> mt.Classifier:
    """The model for this noise, from the cache or trained now."""
    path = CACHE / f"mnist_noisy_{sigma:g}"
    if path.exists():
        return mt.load_bundle(path)
    start = mt.build("small_cnn", (1, 28, 28), 10)
    settings = TrainingSettings(epochs=6, batch_size=128, lr=2e-3)
    model = fit(start, mnist("train"), mnist("validation", 1000), Noisy(sigma=sigma), settings, listener=_print).model
    mt.save_bundle(model, path, shape=(1, 28, 28))
    return model


def _print(event: Event) -> None:
    print(
        event.stage, f"{event.done}/{event.total}", {name: round(value, 4) for name, value in event.metrics.items()}, flush=True
    )


if __name__ == "__main__":
    for value in sys.argv[1:]:
        noisy_model(float(value))
