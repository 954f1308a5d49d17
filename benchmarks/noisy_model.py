"""The models that the certification benchmark runs on: small_cnn of width 16, trained on MNIST under Gaussian noise, cached.

Run alone, it trains them (some minutes on one core each): python benchmarks/noisy_model.py 0.25 0.5
"""

import sys

from bench_model import CACHE, mnist

import martensite as mt
from martensite.core.events import Event
from martensite.training import TrainingSettings
from martensite.training.loop import fit


def noisy_model(sigma: float) -> mt.Classifier:
    """The model for this noise, from the cache or trained now."""
    path = CACHE / f"mnist_noisy_{sigma:g}"
    if path.exists():
        return mt.load_bundle(path)
    start = mt.build("small_cnn", (1, 28, 28), 10)
    settings = TrainingSettings(epochs=6, batch_size=128, lr=2e-3)
    model = fit(
        start, mnist("train"), mnist("validation", 1000), mt.objectives.Gaussian(sigma=sigma), settings, listener=_print
    ).model
    mt.save_bundle(model, path, shape=(1, 28, 28))
    return model


def _print(event: Event) -> None:
    print(
        event.stage, f"{event.done}/{event.total}", {name: round(value, 4) for name, value in event.metrics.items()}, flush=True
    )


if __name__ == "__main__":
    for value in sys.argv[1:]:
        noisy_model(float(value))
