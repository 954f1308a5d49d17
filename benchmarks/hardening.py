"""What the parts of training.py share: the fresh and the standard model, the settings, and hardening with its judgement."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from bench_model import CACHE, mnist, network

import martensite as mt
from martensite.attacks import ATTACKS
from martensite.core.events import Event
from martensite.evaluation import Rate
from martensite.training import TrainingResult, TrainingSettings

SHAPE = (1, 28, 28)
Figures = dict[str, Any]


def fresh(options: argparse.Namespace, seed: int = 0) -> mt.Classifier:
    """The bench CNN, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mt.Classifier(network(), classes=10, shape=SHAPE).to(options.device)


def standard(options: argparse.Namespace, seed: int) -> mt.Classifier:
    """The bench CNN after standard training."""
    settings = TrainingSettings(epochs=options.standard_epochs, batch_size=options.batch, lr=2e-3)
    return mt.train(
        fresh(options, seed), mnist("train", options.train), mnist("validation", options.test), settings=settings, seed=seed,
        listener=told(options),
    ).model  # fmt: skip


def seeds_of(options: argparse.Namespace) -> range:
    """The seeds that are asked for."""
    return range(options.first_seed, options.first_seed + options.seeds)


def settings_of(options: argparse.Namespace, **more: Any) -> TrainingSettings:
    """What the parts share."""
    return TrainingSettings(**{"epochs": options.epochs, "batch_size": options.batch, "lr": options.lr, **more})


def hardened(
    options: argparse.Namespace, start: mt.Classifier, how: Any, seed: int, label: str, save: bool = False, **more: Any
) -> Figures:
    """Harden, then measure on test data with AutoAttack or another attack."""
    data, validation = mnist("train", options.train), mnist("validation", options.test)
    threat = mt.ThreatModel(eps=options.eps)
    training = mt.ThreatModel(eps=options.train_eps or options.eps)
    keep: dict[str, Any] = {"seed": seed, "listener": told(options)}
    result: TrainingResult
    if hasattr(how, "phases"):
        result = mt.harden(start, data, training, None, validation, recipe=how, **keep)
    else:
        result = mt.harden(start, data, training, how, validation, settings=settings_of(options, **more), **keep)
    if save:
        path = CACHE / f"{label.replace(', ', '_').replace(' ', '')}_eps{options.eps:g}"
        mt.save_bundle(result.model, path, threat=threat, shape=SHAPE)
        print(f"  saved: {path}")
    test = mnist("test", options.test)
    judged = mt.attack(ATTACKS.build(options.attack), result.model, test.x, test.y, threat, precision=options.search)
    clean, robust = (Rate.of(int(kind.sum()), len(test)) for kind in (judged.correct, judged.robust))
    cost = result.cost
    print(
        f"  {label:<32} clean {clean}  {options.attack} {robust}  {cost.epochs_by_passes:.1f} standard epochs' passes, "
        f"{result.seconds:.0f} s",
        flush=True,
    )
    return {
        "clean": clean.model_dump(), "robust": robust.model_dump(), "standard_epochs": cost.epochs_by_passes,
        "seconds": result.seconds, "verdict": result.verdict, "best_epoch": result.best.number, "cost": cost.record(),
    }  # fmt: skip


def told(options: argparse.Namespace) -> Callable[[Event], None]:
    """A listener that prints, if asked to."""

    def tell(event: Event) -> None:
        if options.verbose:
            figures = {name: round(value, 4) for name, value in event.metrics.items()}
            print("   ", event.stage, f"{event.done}/{event.total}", figures, event.message, flush=True)

    return tell
