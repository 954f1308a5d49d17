"""Attacks against the peers: seconds and what is left, one process, interleaved rounds, medians.

Peers: foolbox and ART from the bench extra, and adversarial-library if it is importable: its package wants torchvision, so it
is in no extra (pip install --no-deps adv-lib), and torchvision and visdom, which its attacks don't use, are empty modules here.

    python benchmarks/attacks.py [--only pgd,cw] [--rounds 3]
"""

import argparse
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import MagicMock

import torch
from bench_model import bench_model, mnist
from torch import Tensor

import martensite as mt
from martensite.attacks import ATTACKS

BATCH = 250
EPS = 0.2


@dataclass(frozen=True)
class Case:
    """One attack: how each contender runs it on x, y and returns adversarials, and what to report of them."""

    images: int
    contenders: dict[str, Callable[[Tensor, Tensor], Tensor]]
    norm: str = "linf"
    eps: float | None = EPS  # None: minimum norm, report the median distance


def ours(
    model: mt.Classifier, norm: str, eps: float, kind: str, precision: str = "float32", **parameters: object
) -> Callable[[Tensor, Tensor], Tensor]:
    """Our attack of that kind."""
    method, threat = ATTACKS.build({"kind": kind, **parameters}), mt.ThreatModel(norm=norm, eps=eps)
    size = "auto" if precision == "auto" else BATCH
    return lambda x, y: mt.attack(method, model, x, y, threat, batch_size=size, precision=precision).adversarial


def in_batches(run: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A peer that takes one batch at a time."""
    return lambda x, y: torch.cat([run(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)])


def adversarial_library() -> types.ModuleType | None:
    """adv_lib.attacks, with the modules that it imports and doesn't need here."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "visdom", "visdom_logger"):
        sys.modules.setdefault(name, MagicMock())
    try:
        import adv_lib.attacks
    except ImportError as error:
        print(f"without adversarial-library: {error}")
        return None
    return adv_lib.attacks  # type: ignore[no-any-return]


def cases(model: mt.Classifier) -> dict[str, Case]:
    """Everything that is compared."""
    import foolbox
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    adv = adversarial_library()
    fb_model = foolbox.PyTorchModel(model, bounds=(0, 1))
    art = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu")

    def fb(attack: object, eps: float | None) -> Callable[[Tensor, Tensor], Tensor]:
        return in_batches(lambda x, y: attack(fb_model, x, y, epsilons=eps)[1])  # type: ignore[operator]

    def by_art(attack: object) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))  # type: ignore[attr-defined]

    def by_adv(name: str, **parameters: object) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        if adv is None:
            return {}
        run = getattr(adv, name)
        return {"adversarial-library": in_batches(lambda x, y: run(model, x, y, **parameters))}

    step = 2.5 * EPS / 40
    pgd_art = evasion.ProjectedGradientDescentPyTorch(
        art, eps=EPS, eps_step=step, max_iter=40, num_random_init=1, batch_size=BATCH, verbose=False
    )
    return {
        "pgd": Case(
            500,
            {
                "martensite": ours(model, "linf", EPS, "pgd", steps=40),
                "martensite, own choices": ours(model, "linf", EPS, "pgd", "auto", steps=40),
                "foolbox": fb(foolbox.attacks.LinfPGD(steps=40, abs_stepsize=step), EPS),
                "ART": by_art(pgd_art),
                **by_adv("pgd_linf", ε=EPS, steps=40, absolute_step_size=step),
            },
        ),
        "apgd": Case(
            200,
            {
                "martensite": ours(model, "linf", EPS, "apgd"),
                "martensite, own choices": ours(model, "linf", EPS, "apgd", "auto"),
                **by_adv("apgd", norm=float("inf"), eps=EPS, n_iter=100),
            },
        ),
        "deepfool": Case(
            100,
            {
                "martensite": ours(model, "l2", 2.0, "deepfool"),
                "foolbox": fb(foolbox.attacks.L2DeepFoolAttack(steps=50), None),
                **by_adv("df", steps=50, norm=2),
            },
            "l2",
            None,
        ),
        "superdeepfool": Case(
            100, {"martensite": ours(model, "l2", 2.0, "superdeepfool"), **by_adv("sdf", steps=100)}, "l2", None
        ),
        "ddn": Case(
            100,
            {
                "martensite": ours(model, "l2", 2.0, "ddn", steps=100),
                "foolbox": fb(foolbox.attacks.DDNAttack(steps=100), None),
                **by_adv("ddn", steps=100),
            },
            "l2",
            None,
        ),
        "fmn": Case(
            100,
            {
                "martensite": ours(model, "l2", 2.0, "fmn", steps=100),
                "foolbox": fb(foolbox.attacks.L2FMNAttack(steps=100), None),
                **by_adv("fmn", norm=2, steps=100),
            },
            "l2",
            None,
        ),
        "cw": Case(
            100,
            {
                "martensite": ours(model, "l2", 2.0, "cw"),
                "foolbox": fb(foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=200), None),
                **by_adv("carlini_wagner_l2", num_binary_search_steps=5, max_iterations=200),
            },
            "l2",
            None,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model, data = bench_model(), mnist("test", 500)
    model.requires_grad_(False)
    chosen = {name: case for name, case in cases(model).items() if not options.only or name in options.only.split(",")}
    for name, case in chosen.items():
        x, y = data.x[: case.images], data.y[: case.images]
        seconds: dict[str, list[float]] = {who: [] for who in case.contenders}
        left: dict[str, str] = {}
        for _ in range(options.rounds):
            for who, run in case.contenders.items():
                started = time.perf_counter()
                adversarial = run(x, y)
                seconds[who].append(time.perf_counter() - started)
                left[who] = outcome(model, x, y, adversarial, case)
        fastest = (
            min(statistics.median(times) for who, times in seconds.items() if not who.startswith("martensite"))
            if len(seconds) > 1
            else 1.0
        )
        print(f"\n{name}, {case.images} images, {options.rounds} rounds")
        for who, times in seconds.items():
            median = statistics.median(times)
            print(f"  {who:<26}{median:>8.2f} s{median / fastest:>7.2f}x fastest peer   {left[who]}", flush=True)


def outcome(model: mt.Classifier, x: Tensor, y: Tensor, adversarial: Tensor, case: Case) -> str:
    """Robust accuracy inside the ball, or the median distance, judged alike for everybody."""
    with torch.no_grad():
        wrong = model(adversarial).argmax(1) != y
        clean = model(x).argmax(1) == y
    distance = mt.ThreatModel(norm=case.norm, eps=1.0).distance(x, adversarial)
    if case.eps is not None:
        return f"robust {float((~wrong | (distance > case.eps + 1e-5))[clean].float().sum() / len(x)):.3f}"
    return f"median {float(distance[wrong & clean].median()):.3f}, found {float(wrong[clean].float().mean()):.0%}"


if __name__ == "__main__":
    main()
