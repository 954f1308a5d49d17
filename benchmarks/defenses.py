"""Defences at inference on MNIST: the figure of attackers who don't know the defence beside that of attackers who do.

Two small networks are trained briefly, one of them adversarially, and every defence is put around one of them. Naive: PGD on the
bare network, judged on the defended one. Adaptive: the worst of that and of PGD through the defence, with gradients through
stand-ins (BPDA), expectation over draws (EOT) and the alarm in the loss. An adversarial that is flagged or abstained on has
failed; a clean input that is counts as wrong. Run: python benchmarks/defenses.py [--samples 500] [--only jpeg]
"""

import argparse
import time
from typing import Any

import torch
from bench_model import mnist

import martensite as mt
from martensite.attacks import PGD
from martensite.defenses import (
    JPEG,
    BitDepth,
    Defence,
    Defended,
    Energy,
    FeatureSqueezing,
    Gaussian,
    IntrinsicDimension,
    Learned,
    Mahalanobis,
    Median,
    NearestNeighbours,
    ResizePad,
    Squeezing,
    TotalVariation,
    Voting,
    defend,
    join,
)
from martensite.evaluation import Suite, evaluate
from martensite.training import TrainingSettings

SHAPE = (1, 28, 28)
ALARMS = 0.05
TRANSFORMS = (
    BitDepth(bits=1), BitDepth(bits=3), JPEG(quality=50), JPEG(quality=10), Median(size=3), Gaussian(sigma=1.0),
    TotalVariation(weight=0.3), FeatureSqueezing(bits=1, size=2), ResizePad(least=0.8),
)  # fmt: skip


def main() -> None:
    """Train, defend, attack, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=500, help="test images; a fifth of them for the vote")
    arguments.add_argument("--train", type=int, default=10_000, help="training images")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--eps", type=float, default=0.15, help="of Linf")
    arguments.add_argument("--steps", type=int, default=40, help="of PGD")
    arguments.add_argument("--only", action="append", default=[], help="rows whose name holds this; may repeat")
    options = arguments.parse_args()
    threat = mt.ThreatModel(norm="linf", eps=options.eps)
    train, held, test = mnist("train", options.train), mnist("validation", 2000), mnist("test", options.samples)
    plain = [trained(train, held, options, seed) for seed in range(3)]
    settings = TrainingSettings(epochs=options.epochs, batch_size=64, lr=2e-3)
    objective = mt.objectives.PGDAT(mix=0.0, attack=PGD(steps=5, step_size=options.eps / 2))
    hard = mt.harden(plain[0], train, threat, objective, held.subset(slice(0, 200)), settings=settings).model
    print(
        f"MNIST, {len(test)} test images, Linf {options.eps:g}, PGD of {options.steps} steps on the margin; "
        f"torch {torch.__version__}"
    )
    columns = ("model", "defence", "clean", "naive", "adaptive", "refused clean", "findings", "time")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
    for name, model, defence in rows(plain, hard, options.eps):
        title = f"{name} {words(defence)}"
        if options.only and not any(one in title for one in options.only):
            continue
        made = model if defence is None else defend(model, defence, held, seed=0)
        part = test.subset(slice(0, len(test) // 5)) if defence is not None and defence.voting is not None else test
        show(name, words(defence), made, part, threat, options.steps)


def rows(plain: list[mt.Classifier], hard: mt.Classifier, eps: float) -> list[tuple[str, mt.Classifier, Defence | None]]:
    """What is measured: the model's name, the model, what stands around it."""
    detectors: tuple[Any, ...] = (
        Energy(), Squeezing(), Mahalanobis(), NearestNeighbours(), IntrinsicDimension(), Learned(eps=eps),
    )  # fmt: skip
    found: list[tuple[str, mt.Classifier, Defence | None]] = [("standard", plain[0], None)]
    found += [("standard", plain[0], Defence(transforms=(one,))) for one in TRANSFORMS]
    found += [(f"three standard, {how}", join(plain, how), None) for how in ("logits", "probabilities", "vote")]  # type: ignore[arg-type]
    found += [("standard", plain[0], Defence(voting=Voting(sigma=0.2, votes=32)))]
    found += [("standard", plain[0], Defence(detectors=(one,), false_alarms=ALARMS)) for one in detectors]
    found += [("standard", plain[0], Defence(detectors=detectors, false_alarms=ALARMS))]
    found += [("hardened", hard, None)]
    found += [("hardened", hard, Defence(transforms=(one,), hardened=True)) for one in TRANSFORMS[:3]]
    found += [("hardened", hard, Defence(detectors=(one,), false_alarms=ALARMS, hardened=True)) for one in detectors[:3]]
    return found


def trained(train: mt.Dataset, held: mt.Dataset, options: argparse.Namespace, seed: int) -> mt.Classifier:
    """A small network after standard training."""
    start = mt.build({"kind": "small_cnn", "width": 8}, SHAPE, 10, seed=seed)
    settings = TrainingSettings(epochs=options.epochs, batch_size=64, lr=2e-3)
    return mt.train(start, train, held.subset(slice(0, 500)), settings=settings, seed=seed).model


def words(defence: Defence | None) -> str:
    """The defence in a few words."""
    if defence is None:
        return "none"
    parts = [*map(str, defence.transforms), *(one.kind for one in defence.detectors)]
    return ", ".join([*parts, str(defence.voting)] if defence.voting is not None else parts)


def show(name: str, defence: str, model: mt.Classifier, test: mt.Dataset, threat: mt.ThreatModel, steps: int) -> None:
    """A row."""
    started = time.perf_counter()
    report = evaluate(model, test, threat, Suite(name="defences", attacks=(PGD(steps=steps, loss="margin"),)))
    found = report.defence
    naive = report.robust_accuracy if found is None or found.naive is None else found.naive
    refused = "" if found is None or found.refused is None else f"{found.refused.value:.1%}"
    findings = ", ".join(f"{one.name} ({one.severity})" for one in report.diagnostics)
    n = f" (n = {len(test)})" if isinstance(model, Defended) and model.defence.voting is not None else ""
    print(
        f"| {name} | {defence}{n} | {report.clean_accuracy.value:.1%} | {naive.value:.1%} | {report.robust_accuracy.value:.1%} "
        f"| {refused} | {findings} | {time.perf_counter() - started:.0f} s |",
        flush=True,
    )


if __name__ == "__main__":
    main()
