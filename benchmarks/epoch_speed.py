"""The part speed of training.py: seconds an epoch of the bare loop, ours, and ART's trainer."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_model import mnist
from hardening import SHAPE, Figures, fresh
from torch.nn.functional import cross_entropy

import martensite as mt
from martensite.training import TrainingSettings

STEPS = 7


def speed(options: argparse.Namespace) -> Figures:
    """Seconds an epoch of PGD-7 training, interleaved; validation is not in them."""
    data, few = mnist("train", options.train), mnist("validation", 20)
    threat, batch = mt.ThreatModel(eps=options.eps), options.batch
    method = mt.attacks.PGD(steps=STEPS)

    def bare() -> float:
        model = fresh(options)
        x, y = data.x.to(options.device), data.y.to(options.device)
        optimiser = torch.optim.Adam(model.parameters())
        started = time.perf_counter()
        for rows in torch.randperm(len(x)).split(batch):
            clean, labels = x[rows], y[rows]
            low, high = (clean - threat.eps).clamp(0, 1), (clean + threat.eps).clamp(0, 1)
            point = (clean + torch.empty_like(clean).uniform_(-threat.eps, threat.eps)).clamp(0, 1)
            model.eval().requires_grad_(False)
            for _ in range(STEPS):
                point = point.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(cross_entropy(model(point), labels), point)
                point = (point.detach() + 2.5 * threat.eps / STEPS * gradient.sign()).clamp(low, high)
            model.train().requires_grad_(True)
            optimiser.zero_grad(set_to_none=True)
            cross_entropy(model(point.detach()), labels).backward()
            optimiser.step()
        return time.perf_counter() - started

    def ours(objective: Any, **more: Any) -> float:
        settings = TrainingSettings(epochs=1, batch_size=batch, schedule="constant", guards=None, **more)
        model, started = fresh(options), time.perf_counter()
        result = mt.harden(model, data, threat, objective, few, settings=settings)
        return time.perf_counter() - started - result.cost.validation.seconds

    runs: dict[str, Callable[[], float]] = {
        "bare loop": bare,
        "martensite": lambda: ours(mt.objectives.PGDAT(mix=0.0, attack=method)),
        "martensite, bfloat16 attack": lambda: ours(mt.objectives.PGDAT(mix=0.0, attack=method), attack_precision="bfloat16"),
        "standard training": lambda: ours(mt.objectives.Standard()),
    }
    if (art := art_trainer(options, data)) is not None:
        runs["ART"] = art
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            taken = run()
            if turn:  # the first round warms up
                seconds[name].append(taken)
    print(f"PGD-{STEPS} training, an epoch of {len(data)} images, batch {batch}, {torch.get_num_threads()} threads")
    figures = {}
    for name, times in seconds.items():
        ratio = statistics.median(own / floor for own, floor in zip(times, seconds["bare loop"], strict=True))
        figures[name] = {"seconds": times, "ratio": ratio}
        print(f"  {name:<28}{statistics.median(times):>9.2f} s{ratio:>8.3f} x the loop (median of the ratios within a round)")
    return figures


def art_trainer(options: argparse.Namespace, data: mt.Dataset) -> Callable[[], float] | None:
    """One epoch of ART's Madry trainer; None where ART is not installed."""
    try:
        from art.defences.trainer import AdversarialTrainerMadryPGD
        from art.estimators.classification import PyTorchClassifier
    except ImportError:
        print("ART is not installed: make bench installs it")
        return None

    def run() -> float:
        model = fresh(options)
        estimator = PyTorchClassifier(
            model, loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.Adam(model.parameters()), input_shape=SHAPE,
            nb_classes=10, clip_values=(0, 1), device_type="cpu" if options.device == "cpu" else "gpu",
        )  # fmt: skip
        trainer = AdversarialTrainerMadryPGD(
            estimator, nb_epochs=1, batch_size=options.batch, eps=options.eps, eps_step=2.5 * options.eps / STEPS, max_iter=STEPS
        )
        labels, started = torch.eye(10)[data.y].numpy(), time.perf_counter()
        trainer.fit(data.x.numpy(), labels)
        return time.perf_counter() - started

    return run
