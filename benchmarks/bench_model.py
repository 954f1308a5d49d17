"""The model that benchmarks run on: a CNN of 355,926 parameters, PGD-trained on MNIST at Linf eps 0.2, trained once and cached.

Run alone, it trains the model (some minutes on two cores): python benchmarks/bench_model.py
MNIST is read from MARTENSITE_MNIST, or from ../shared/data/mnist beside the checkout.
"""

import os
import sys
from pathlib import Path

from torch import nn

import martensite as mt
from martensite.core.events import Event
from martensite.training import TrainingSettings

ROOT = Path(__file__).resolve().parent.parent
MNIST = Path(os.environ.get("MARTENSITE_MNIST", ROOT.parent / "shared" / "data" / "mnist"))
CACHE = Path(os.environ.get("MARTENSITE_BENCH_CACHE", ROOT / "benchmarks" / "cache"))
THREAT = mt.ThreatModel(norm="linf", eps=0.2)


def network() -> nn.Module:
    """Conv(1,16,3)-Conv(16,32,4,s2)-Conv(32,64,4,s2)-Linear(3136,100)-Linear(100,10), ReLU between."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(3136, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def mnist(split: str, limit: int | None = None) -> mt.Dataset:
    """A part of MNIST; ends the benchmark with a reason where MNIST is not at hand."""
    if not MNIST.is_dir():
        print(f"skipped: no MNIST at {MNIST}; set MARTENSITE_MNIST to a folder with its idx files")
        sys.exit(0)
    return mt.load_data(f"mnist:{MNIST}", split, limit=limit)


def bench_model(hardened: bool = True) -> mt.Classifier:
    """The trained model, from the cache or trained now; ``hardened=False``: the same network, standard training."""
    path = CACHE / ("mnist_linf_0.2" if hardened else "mnist_standard")
    if path.exists():
        return mt.load_bundle(path)
    train, validation = mnist("train"), mnist("validation", 1000)
    start = mt.Classifier(network(), classes=10, shape=(1, 28, 28))
    settings = TrainingSettings(epochs=2 if not hardened else 5, batch_size=128, lr=2e-3)
    if hardened:
        objective = mt.objectives.PGDAT(mix=0.0, attack=mt.attacks.PGD(steps=7, step_size=0.05))
        model = mt.harden(
            bench_model(hardened=False), train, THREAT, objective, validation, settings=settings, listener=_print,
            checkpoint=CACHE / "training.safetensors",
        ).model  # fmt: skip
    else:
        model = mt.train(start, train, validation, settings=settings, listener=_print).model
    mt.save_bundle(model, path, threat=THREAT if hardened else None, shape=(1, 28, 28))
    return model


def _print(event: Event) -> None:
    print(
        event.stage, f"{event.done}/{event.total}", {name: round(value, 4) for name, value in event.metrics.items()}, flush=True
    )


if __name__ == "__main__":
    bench_model()
