"""Hardening on MNIST: what it costs against the bare loop and ART, and what it gives.

    python benchmarks/training.py                          speed only (minutes)
    python benchmarks/training.py --part fast --part collapse --seeds 3 --json results.json
    python benchmarks/training.py --part madry --network trades_cnn --epochs 60 --device cuda

Parts: speed      seconds an epoch: bare loop, ours, ours with bfloat16 attack gradients, ART's Madry trainer, standard training
       bfloat16   accuracy under AutoAttack and seconds, attack gradients in float32 and in bfloat16
       fast       the fast recipe beside PGD-10 training (mix 0.5 and 0), from the same standard model
       collapse   catastrophic overfitting of single-step training, provoked without guards and recovered with them
       smoothed   noise, consistency and smoothadv for randomized smoothing: certified accuracy at an L2 radius of 1; published
                  for smoothadv at sigma 0.5: 92.8
       certified  training for bounds: a small network by --objective (ibp, crown_ibp, sabr, mtl_ibp), certified by linear bounds
       madry      eps 0.3 with the literature's networks; published under AutoAttack: 88.50 (Madry), 92.81 (TRADES)
       judge      the accuracy of saved bundles (--bundle) under --attack, on --test images
--quick takes every part through its motions on little data; its figures mean nothing. MNIST: see bench_model.py.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_model import CACHE, mnist, network
from torch.nn.functional import cross_entropy

import martensite as mt
from martensite.attacks import ATTACKS
from martensite.core.events import Event
from martensite.evaluation import Rate
from martensite.models.digest import model_digest
from martensite.training import TrainingResult, TrainingSettings, load_recipe
from martensite.training.guards import CatastrophicOverfitting, Divergence, Guards

SHAPE = (1, 28, 28)
STEPS = 7
Figures = dict[str, Any]


def fresh(options: argparse.Namespace, seed: int = 0) -> mt.Classifier:
    """The bench CNN, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mt.Classifier(network(), classes=10, shape=SHAPE).to(options.device)


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


def bfloat16(options: argparse.Namespace) -> Figures:
    """Whether attack gradients in bfloat16 cost accuracy, over seeds."""
    return {
        f"seed {seed}": {
            precision: hardened(
                options,
                standard(options, seed),
                mt.objectives.PGDAT(mix=0.0, attack=mt.attacks.PGD(steps=STEPS)),
                seed,
                f"seed {seed}, {precision}",
                attack_precision=precision,
            )
            for precision in ("float32", "bfloat16")
        }
        for seed in range(options.seeds)
    }


def fast(options: argparse.Namespace) -> Figures:
    """The fast recipe against full PGD-10 training, all from one standard model a seed."""
    found: Figures = {}
    for seed in range(options.seeds):
        start = standard(options, seed)
        recipe = load_recipe("fast")
        if options.quick:
            recipe = recipe.scaled(2)
        rows = {"fast": hardened(options, start, recipe, seed, f"seed {seed}, fast recipe")}
        for mix in (0.5, 0.0):
            objective = mt.objectives.PGDAT(mix=mix, attack=mt.attacks.PGD(steps=10))
            rows[f"pgd10_mix{mix:g}"] = hardened(
                options, start, objective, seed, f"seed {seed}, PGD-10 mix {mix:g}", attack_precision=options.attack_precision
            )
        for row in rows.values():
            # The standard model came for options.standard_epochs epochs of one forward and one backward pass.
            row["times_standard_training"] = row["standard_epochs"] / options.standard_epochs
        shown = [f"{name} {row['times_standard_training']:.2f} x" for name, row in rows.items()]
        print(f"    passes of the standard training: {', '.join(shown)}")
        found[f"seed {seed}"] = rows
    return found


def collapse(options: argparse.Namespace) -> Figures:
    """Single-step training with a step of twice eps, as fragile as it gets."""
    objective = mt.objectives.FGSMAT(step=2.0)
    watch = Guards(watch=(Divergence(), CatastrophicOverfitting()), every=max(1, options.train // options.batch // 10))
    found: Figures = {}
    for seed in range(options.seeds):
        for name, guards in (("unguarded", None), ("guarded", watch)):
            settings = settings_of(options, guards=guards, schedule="constant")
            threat = mt.ThreatModel(eps=options.eps)
            result = mt.harden(
                standard(options, seed), mnist("train", options.train), threat, objective, mnist("validation", options.test),
                settings=settings, seed=seed, listener=told(options),
            )  # fmt: skip
            robust = [epoch.robust for epoch in result.history]
            found[f"seed {seed}, {name}"] = {
                "robust_by_epoch": robust, "clean_by_epoch": [epoch.clean for epoch in result.history],
                "recoveries": [vars(one) for one in result.recoveries], "verdict": result.verdict,
            }  # fmt: skip
            print(f"  seed {seed}, {name}: robust by epoch {[round(value or 0, 3) for value in robust]}, {result.verdict}")
            for one in result.recoveries:
                print(f"    batch {one.update}: {one.complaint}; back to {one.restored}, {one.remedy}")
    return found


def madry(options: argparse.Namespace) -> Figures:
    """A network of the literature from scratch, at eps 0.3 unless told otherwise; the ramp gets it off the plateau at chance.

    Passes are in bfloat16 and the adversary starts with a third of its steps, or an epoch on a CPU takes twice as long.
    """
    from martensite.training import EMA, Ramp

    found: Figures = {}
    for seed in range(options.seeds):
        start = mt.build(options.network, SHAPE, 10, seed=seed).to(options.device)
        method = mt.attacks.PGD(steps=options.steps)
        trades = mt.objectives.TRADES(beta=options.beta, attack=method)
        objective = trades if options.trades else mt.objectives.PGDAT(mix=0.0, attack=method)
        found[f"seed {seed}"] = hardened(
            options, start, objective, seed, f"seed {seed}, {options.network}, {objective.kind}",
            ramp=Ramp(until=0.4, steps_from=0.3), average=EMA(decay=0.999), guards=None, validate_every=options.validate_every,
            precision="bfloat16", attack_precision="bfloat16", channels_last=True, save=True,
        )  # fmt: skip
    return found


def smoothed(options: argparse.Namespace) -> Figures:
    """Certified accuracy of the smoothed classifier at radius 1, by what trained its base."""
    from martensite.training import Ramp

    sigma, found = options.sigma, {}
    objectives = {
        "gaussian": mt.objectives.Gaussian(sigma=sigma),
        "consistency": mt.objectives.Consistency(sigma=sigma, weight=5.0),
        "smoothadv": mt.objectives.SmoothAdv(sigma=sigma, attack=mt.attacks.PGD(steps=4)),
    }
    data, validation, test = mnist("train", options.train), mnist("validation", options.test), mnist("test", options.test)
    for name in options.objective or objectives:
        threat = mt.ThreatModel(norm="l2", eps=1.0)
        settings = settings_of(
            options, ramp=Ramp(until=0.4), guards=None, validate_every=options.epochs, attack_precision=options.attack_precision
        )
        result = mt.harden(
            fresh(options), data, threat, objectives[name], validation, settings=settings, listener=told(options)
        )  # fmt: skip
        method = mt.certification.Smoothing(sigma=sigma)
        certificates = mt.certify(result.model, test.x, test.y, method, radius=1.0)
        certified = Rate.of(int((certificates.radius >= 1.0).logical_and(certificates.prediction == test.y).sum()), len(test))
        print(f"  {name:<12} certified at radius 1: {certified}, {result.seconds:.0f} s to train", flush=True)
        found[name] = {"certified": certified.model_dump(), "seconds": result.seconds, "cost": result.cost.record()}
    return found


def certified(options: argparse.Namespace) -> Figures:
    """Certified accuracy in Linf of a small network that was trained for bounds; the ramp is what lets it learn."""
    from martensite.training import Ramp

    found: Figures = {}
    data, validation, test = mnist("train", options.train), mnist("validation", options.test), mnist("test", options.test)
    training, threat = mt.ThreatModel(eps=options.train_eps or options.eps), mt.ThreatModel(eps=options.eps)
    for name in options.objective or ["ibp"]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = torch.nn.Sequential(
                torch.nn.Conv2d(1, 16, 4, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 4), torch.nn.ReLU(),
                torch.nn.Flatten(), torch.nn.Linear(3200, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10),
            )  # fmt: skip
        settings = settings_of(
            options, ramp=Ramp(until=0.6), guards=None, validate_every=options.epochs, schedule="multistep",
            milestones=(0.75, 0.9), attack_precision=options.attack_precision,
        )  # fmt: skip
        start = mt.Classifier(net, classes=10, shape=SHAPE).to(options.device)
        result = mt.harden(start, data, training, name, validation, settings=settings, listener=told(options))
        mt.save_bundle(result.model, CACHE / f"certified_{name}_eps{options.eps:g}", threat=threat, shape=SHAPE)
        clean = Rate.of(int((result.model(test.x).argmax(1) == test.y).sum()), len(test))
        row: Figures = {"clean": clean.model_dump(), "seconds": result.seconds, "cost": result.cost.record()}
        for method in (mt.certification.IntervalBounds(), mt.certification.LinearBounds()):
            certificates = mt.certify(result.model, test.x, test.y, method, threat=threat)
            rate = Rate.of(int(certificates.certified(options.eps).sum()), len(test))
            row[method.kind] = {"certified": rate.model_dump(), "seconds": certificates.seconds}
            print(f"  {name:<10} clean {clean}, {method.kind} {rate}, {result.seconds:.0f} s to train", flush=True)
        found[name] = row
    return found


def judge(options: argparse.Namespace) -> Figures:
    """A bundle on test images, e.g. one that madry saved; goes on where it was stopped."""
    found: Figures = {}
    test, threat = mnist("test", options.test), mt.ThreatModel(eps=options.eps)
    for path in options.bundle:
        model = mt.load_bundle(path)
        judged = mt.attack(
            ATTACKS.build(options.attack), model, test.x, test.y, threat, precision=options.search, batch_size=50,
            store=CACHE / "judged" / Path(path).name, listener=told(options),
        )  # fmt: skip
        clean, robust = (Rate.of(int(kind.sum()), len(test)) for kind in (judged.correct, judged.robust))
        print(f"  {path}: clean {clean}  {options.attack} {robust}, {judged.seconds:.0f} s", flush=True)
        found[path] = {
            "model": model_digest(model), "data": test.digest, "threat": threat.model_dump(mode="json"), "attack": options.attack,
            "search": options.search, "seed": 0, "clean": clean.model_dump(), "robust": robust.model_dump(),
            "errors": int(judged.error.sum()), "rejected": judged.rejected, "warnings": list(judged.warnings),
            "forwards": judged.forwards, "backwards": judged.backwards, "seconds": judged.seconds,
        }  # fmt: skip
    return found


def standard(options: argparse.Namespace, seed: int) -> mt.Classifier:
    """The bench CNN after standard training."""
    settings = TrainingSettings(epochs=options.standard_epochs, batch_size=options.batch, lr=2e-3)
    return mt.train(
        fresh(options, seed), mnist("train", options.train), mnist("validation", options.test), settings=settings, seed=seed,
        listener=told(options),
    ).model  # fmt: skip


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


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "speed": speed,
    "bfloat16": bfloat16,
    "fast": fast,
    "collapse": collapse,
    "smoothed": smoothed,
    "madry": madry,
    "certified": certified,
    "judge": judge,
}
QUICK = {"train": 600, "test": 60, "epochs": 1, "standard_epochs": 2, "rounds": 1, "seeds": 1, "attack": "pgd"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="may repeat; default speed")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", type=int, help="training images (speed: 6000; else all 55,000)")
    parser.add_argument("--test", type=int, default=1000, help="test and validation images")
    parser.add_argument("--epochs", type=int, default=10, help="of hardening by an objective")
    parser.add_argument("--standard-epochs", type=int, default=10, help="of the standard model that hardening starts from")
    parser.add_argument("--rounds", type=int, default=5, help="of speed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--eps", type=float, help="default 0.2; collapse and madry 0.3")
    parser.add_argument(
        "--attack-precision", default="float32", choices=["float32", "bfloat16"], help="of fast's PGD-10 training"
    )
    parser.add_argument("--sigma", type=float, default=0.5, help="of smoothed")
    parser.add_argument(
        "--objective", action="append", help="of smoothed (default: all three) and certified (default: ibp); may repeat"
    )
    parser.add_argument("--train-eps", type=float, help="of hardening, where it differs from --eps")
    parser.add_argument("--steps", type=int, default=10, help="of madry's search in training")
    parser.add_argument("--validate-every", type=int, default=1, help="epochs, of madry")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--attack", default="autoattack", help="what judges: autoattack, adaptive, pgd ...")
    parser.add_argument("--search", default="float32", choices=["float32", "bfloat16"], help="precision of the judge's search")
    parser.add_argument("--network", default="madry_cnn", help="of madry: madry_cnn or trades_cnn")
    parser.add_argument("--trades", action="store_true", help="madry: TRADES instead of PGD-10 training")
    parser.add_argument("--beta", type=float, default=6.0, help="of TRADES")
    parser.add_argument("--bundle", action="append", default=[], help="of judge; may repeat")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--verbose", action="store_true", help="every epoch")
    parser.add_argument("--json", type=Path, help="where figures go as JSON")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    figures: Figures = {"command": sys.argv, "torch": torch.__version__, "threads": torch.get_num_threads()}
    for part in options.part or ["speed"]:
        own = argparse.Namespace(**vars(options))
        own.eps = options.eps or (0.3 if part in ("collapse", "madry", "judge") else 0.2)
        own.train = options.train or (6000 if part == "speed" else 55_000)
        print(f"\n{part}: eps {own.eps:g}, {own.train} training images", flush=True)
        figures[part] = PARTS[part](own)
        if options.json is not None:  # after each part, as the later ones take hours
            options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
