"""PGD and APGD against the loop that nobody can leave out: what the engine costs, on one model in one process, interleaved.

The loop is forward pass, loss, gradient with respect to the input, step, clamp. Every contender runs all its steps on every
sample (the model withstands eps = 0.02 on the chosen samples, so that none drops out); ours also pass the clean inputs and judge
the result.

    python benchmarks/pgd.py [--images 250] [--steps 40] [--batch 125] [--rounds 7] [--clock cpu]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from bench_model import bench_model, mnist
from torch import Tensor
from torch.nn.functional import cross_entropy

import martensite as mt

EPS = 0.02
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def bare_loop(model: mt.Classifier, x: Tensor, y: Tensor, steps: int, batch: int) -> None:
    """Nothing but the passes and the step."""
    model.eval().requires_grad_(False)
    for start in range(0, len(x), batch):
        clean, labels = x[start : start + batch], y[start : start + batch]
        low, high = (clean - EPS).clamp(0, 1), (clean + EPS).clamp(0, 1)
        point = clean
        for _ in range(steps):
            point = point.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(cross_entropy(model(point), labels, reduction="sum"), point)
            point = (point.detach() + 2.5 * EPS / steps * gradient.sign()).clamp(low, high)


def contenders(model: mt.Classifier, x: Tensor, y: Tensor, steps: int, batch: int) -> dict[str, Callable[[], None]]:
    """Name to a function that runs the whole attack once."""
    threat = mt.ThreatModel(eps=EPS)
    found: dict[str, Callable[[], None]] = {
        "bare loop": lambda: bare_loop(model, x, y, steps, batch),
        "pgd": lambda: void(mt.attack(mt.attacks.PGD(steps=steps), model, x, y, threat, batch_size=batch)),
        "apgd": lambda: void(mt.attack(mt.attacks.APGD(steps=steps), model, x, y, threat, batch_size=batch)),
    }
    try:
        import foolbox

        attack = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=2.5 * EPS / steps)
        target = foolbox.PyTorchModel(model, bounds=(0, 1))

        def run_foolbox() -> None:
            for start in range(0, len(x), batch):
                attack(target, x[start : start + batch], y[start : start + batch], epsilons=EPS)

        found["foolbox pgd"] = run_foolbox
    except ImportError:
        print("foolbox is not installed: make bench installs it")
    try:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        estimator = PyTorchClassifier(
            model,
            loss=torch.nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=10,
            clip_values=(0, 1),
            device_type="cpu",
        )
        pgd = ProjectedGradientDescentPyTorch(
            estimator, eps=EPS, eps_step=2.5 * EPS / steps, max_iter=steps, num_random_init=1, batch_size=batch, verbose=False
        )
        found["ART pgd"] = lambda: void(pgd.generate(x.numpy(), y.numpy()))
    except ImportError:
        print("ART is not installed: make bench installs it")
    return found


def void(result: object) -> None:
    """Drop a result."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=125)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: process time, for a machine that isn't quiet")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]

    model, data = bench_model(), mnist("test", options.images + 200)
    result = mt.attack(mt.attacks.PGD(steps=20), model, data.x, data.y, mt.ThreatModel(eps=EPS))
    data = data.subset(result.robust.nonzero().flatten()[: options.images])
    runs = contenders(model, data.x, data.y, options.steps, options.batch)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            started = clock()
            run()
            if turn:  # the first round warms up
                seconds[name].append(clock() - started)

    floor = seconds["bare loop"]
    setting = f"batch {options.batch}, {torch.get_num_threads()} threads, {options.rounds} rounds, {options.clock} clock"
    print(f"{options.steps} steps on {len(data)} images, {setting}")
    print(f"{'':<12}{'median s':>10}{'x bare loop':>13}   (median of the ratios within a round)")
    for name, times in seconds.items():
        ratio = statistics.median(mine / base for mine, base in zip(times, floor, strict=True))
        print(f"{name:<12}{statistics.median(times):>10.2f}{ratio:>13.3f}")


if __name__ == "__main__":
    main()
