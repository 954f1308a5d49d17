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
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from bench_model import CACHE, mnist
from epoch_speed import STEPS, speed
from for_certificates import certified, smoothed
from hardening import SHAPE, Figures, hardened, seeds_of, settings_of, standard, told

import martensite as mt
from martensite.attacks import ATTACKS
from martensite.evaluation import Rate
from martensite.models.digest import model_digest
from martensite.training import EMA, Ramp, load_recipe
from martensite.training.guards import CatastrophicOverfitting, Divergence, Guards


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
                save=True,
                attack_precision=precision,
            )
            for precision in ("float32", "bfloat16")
        }
        for seed in seeds_of(options)
    }


def fast(options: argparse.Namespace) -> Figures:
    """The fast recipe against full PGD-10 training, all from one standard model a seed."""
    found: Figures = {}
    for seed in seeds_of(options):
        start = standard(options, seed)
        recipe = load_recipe("fast")
        if options.quick:
            recipe = recipe.scaled(2)
        rows = {"fast": hardened(options, start, recipe, seed, f"seed {seed}, fast recipe", save=True)}
        for mix in options.mix or (0.5, 0.0):
            objective = mt.objectives.PGDAT(mix=mix, attack=mt.attacks.PGD(steps=10))
            rows[f"pgd10_mix{mix:g}"] = hardened(
                options, start, objective, seed, f"seed {seed}, PGD-10 mix {mix:g}", save=True,
                attack_precision=options.attack_precision,
            )  # fmt: skip
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
    for seed in seeds_of(options):
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
    """A network of the literature, at eps 0.3 unless told otherwise; the ramp gets a fresh one off the plateau at chance.

    Passes are in bfloat16 and the adversary starts with a third of its steps, or an epoch on a CPU takes twice as long.
    """
    found: Figures = {}
    for seed in seeds_of(options):
        fresh = options.start is None
        start = mt.build(options.network, SHAPE, 10, seed=seed) if fresh else mt.load_bundle(options.start)
        method = mt.attacks.PGD(steps=options.steps)
        trades = mt.objectives.TRADES(beta=options.beta, attack=method)
        objective = trades if options.trades else mt.objectives.PGDAT(mix=0.0, attack=method)
        found[f"seed {seed}"] = hardened(
            options, start.to(options.device), objective, seed, f"seed {seed}, {options.network}, {objective.kind}",
            ramp=Ramp(until=0.4, steps_from=0.3) if fresh else None, average=EMA(decay=0.999), guards=None,
            validate_every=options.validate_every, precision="bfloat16", attack_precision="bfloat16", channels_last=True,
            save=True,
        )  # fmt: skip
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
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="where they start, so that seeds may run one by one")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--eps", type=float, help="default 0.2; collapse and madry 0.3")
    parser.add_argument(
        "--attack-precision", default="float32", choices=["float32", "bfloat16"], help="of fast's PGD-10 training"
    )
    parser.add_argument("--mix", type=float, action="append", help="share of clean loss in fast's PGD-10; default 0.5 and 0")
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
    parser.add_argument("--start", type=Path, help="madry: a bundle to go on from, instead of a fresh network")
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
