"""Certified error of a published MNIST network by interval bounds and CROWN, beside its error under PGD.

    python benchmarks/bounds.py [--images 10000] [--eps 0.1] [--methods ibp crown] [--steps 40]

The network is the small one of Wong and Kolter 2018 (arXiv:1711.00851), trained with their bound at Linf eps 0.1. Published on
MNIST's test part: error 1.8 %, PGD error 4.1 %, certified error 5.8 %, by that same bound. Checked here, sample by sample: PGD
breaks nothing that is certified, and what interval bounds certify linear bounds do too. A run that was stopped goes on.

The weights are read from MARTENSITE_CONVEX_MNIST, or from ../shared/data/models/convex_mnist.pth beside the checkout.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from bench_model import CACHE, ROOT, mnist
from torch import nn

import martensite as mt
from martensite.certification import Bounded, IntervalBounds, LinearBounds

WEIGHTS = Path(os.environ.get("MARTENSITE_CONVEX_MNIST", ROOT.parent / "shared" / "data" / "models" / "convex_mnist.pth"))
STORE = CACHE / "bounds"
METHODS: dict[str, Bounded] = {
    "ibp": IntervalBounds(),
    "crown-ibp": LinearBounds(variant="crown-ibp"),
    "crown": LinearBounds(variant="crown"),
    "alpha-crown": LinearBounds(variant="alpha-crown"),
}


def published_model() -> mt.Classifier:
    """The network; ends the benchmark with a reason where its weights are not at hand."""
    if not WEIGHTS.is_file():
        print(f"skipped: no weights at {WEIGHTS}; set MARTENSITE_CONVEX_MNIST")
        sys.exit(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True, map_location="cpu"))
    return mt.Classifier(net, classes=10, shape=(1, 28, 28)).eval()


def main() -> int:
    """Prints the errors; exits with 1 where one of the checks fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["ibp", "crown"])
    parser.add_argument("--steps", type=int, default=40, help="of PGD")
    given = parser.parse_args()
    model, threat = published_model(), mt.ThreatModel(norm="linf", eps=given.eps)
    data = mnist("test")
    data = data.subset(slice(0, given.images))
    n, sound, spoke = len(data), True, time.monotonic()

    def tell(event: mt.core.events.Event) -> None:
        nonlocal spoke
        if time.monotonic() - spoke > 30.0:
            spoke = time.monotonic()
            print(f"  {event.done}/{event.total}", {name: round(value, 4) for name, value in event.metrics.items()}, flush=True)

    print(f"{threat}, {n} images, torch threads: {torch.get_num_threads()}")
    attacked = mt.attack(mt.attacks.PGD(steps=given.steps), model, data.x, data.y, threat, seed=0)
    print(f"clean error      {100 * (1 - float(attacked.correct.double().mean())):6.2f} %")
    print(f"PGD-{given.steps} error     {100 * (1 - float(attacked.robust.double().mean())):6.2f} %  {attacked.seconds:.1f} s")
    weaker: torch.Tensor | None = None
    for name in [name for name in METHODS if name in given.methods]:
        certs = mt.certify(model, data.x, data.y, METHODS[name], threat=threat, store=STORE, listener=tell)
        certified = certs.certified(threat.eps)
        error, each = 100 * (1 - float(certified.double().mean())), certs.seconds / n
        print(f"{name:<12} error {error:6.2f} %  {certs.seconds:.1f} s, {each:.4f} s an image (less what was in {STORE.name}/)")
        broken = int((certified & attacked.success).sum())
        lost = 0 if weaker is None else int((weaker & ~certified).sum())
        print(f"             certified but broken by PGD: {broken}; certified by the weaker bound only: {lost}")
        sound, weaker = sound and not broken and not lost, certified
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
