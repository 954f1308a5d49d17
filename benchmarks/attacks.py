"""Attacks against the peers: seconds, passes and what is left, one process, interleaved rounds, medians.

Peers get the images in batches of 250, and everybody is judged alike: misclassified in float32 and, for bounded attacks, inside
the ball. Peers' passes are counted at the model by a hook, ours by the engine, which takes a model with a hook as a whole. The
floor is an attack's gradient passes times the fastest forward and input-gradient pass. "Agrees" says whether independent
implementations find the same; ours may be better than the best peer, never worse.

    python benchmarks/attacks.py [--only pgd,cw] [--rounds 3] [--images 100] [--seconds 120] [--json FILE]

Exit status 1: some attack of ours found less than a peer's, beyond the tolerance.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from bench_model import bench_model, mnist
from cases import Case, all_cases
from peers import OURS, Contenders, Passes, Run, load_peers
from torch import Tensor
from torch.nn.functional import cross_entropy

import martensite as mt

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Row:
    """One contender's outcome in one case.

    Args:
        seconds: Of each round.
        passes: Forward passes an image.
        left: Share of the images that are correct and not broken.
        distance: Median over those that it broke; None for a bounded attack.
        error: Why it could not run.
    """

    seconds: list[float] = field(default_factory=list)
    passes: float = 0.0
    left: float = 1.0
    distance: float | None = None
    error: str = ""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def pass_time(model: mt.Classifier, x: Tensor, y: Tensor, clock: Clock) -> float:
    """Least seconds an image of a forward and input-gradient pass, over batch sizes."""
    times = []
    for size in (32, 64, 125, 250):
        part, labels = x[:size], y[:size]
        for _ in range(8):
            started = clock()
            leaf = part.clone().requires_grad_(True)
            torch.autograd.grad(cross_entropy(model(leaf), labels, reduction="sum"), leaf)
            times.append((clock() - started) / len(part))
    return min(times)


def once(run: Run, model: mt.Classifier, passes: Passes, case: Case, x: Tensor, y: Tensor, row: Row, clock: Clock) -> None:
    """One round of one contender."""
    passes.count, started = 0, clock()
    try:
        adversarial = run(x.clone(), y.clone())
    except Exception as failure:  # a peer that can't is a row that says so
        row.error = f"{type(failure).__name__}: {failure}".splitlines()[0][:100]
        return
    row.seconds.append(clock() - started)
    row.passes = passes.count / len(x)
    with torch.no_grad():
        correct = model(x).argmax(1) == y
        broken = (model(adversarial).argmax(1) != y) & correct
    distance = case.threat.distance(x, adversarial)
    if case.minimum:
        row.distance = float(distance[broken].median()) if bool(broken.any()) else None
    else:
        broken &= distance <= case.threat.eps + 1e-5
    row.left = float((correct & ~broken).float().mean())


def measure(
    case: Case, model: mt.Classifier, passes: Passes, x: Tensor, y: Tensor, rounds: int, limit: float, clock: Clock
) -> dict[str, Row]:
    """Interleaved rounds, as many as are asked for or fit into ``limit`` seconds, one at least."""
    rows = {who: Row() for who in case.runs}
    started = clock()
    for turn in range(rounds):
        for who, run in case.runs.items():
            if not rows[who].error:
                once(run, model, passes, case, x, y, rows[who], clock)
                if not turn and sys.stderr.isatty():
                    print(f"  ... {who}", file=sys.stderr)
        if (turn + 2) / (turn + 1) * (clock() - started) > limit:
            break
    return rows


def verdict(case: Case, rows: dict[str, Row]) -> str:
    """How ours stands against the peer that found most: agrees, is better, or is worse."""
    others = [row for who, row in rows.items() if not who.startswith("martensite") and not row.error]
    mine, allowed = rows[OURS], max(0.02, 1.5 / case.images)
    if not others or mine.error:
        return f"FAILED, {mine.error}" if mine.error else "alone"
    gap = mine.left - min(row.left for row in others)
    medians = [row.distance for row in others if row.distance is not None and row.left <= mine.left + allowed]
    if gap > allowed or not case.minimum or mine.distance is None or not medians:
        return f"{'WORSE' if gap > allowed else 'better' if gap < -allowed else 'agrees'}, {100 * gap:+.1f} points left"
    ratio = mine.distance / min(medians)
    said = "WORSE" if ratio > 1.0 + case.tolerance else "better" if ratio < 1.0 - case.tolerance else "agrees"
    return f"{said}, median {ratio:.3f}x the nearest peer's"


def show(name: str, case: Case, rows: dict[str, Row], floor: float, said: str, images: int) -> None:
    """The case's table."""
    rounds = max(len(row.seconds) for row in rows.values())
    peers = [row.median for who, row in rows.items() if not who.startswith("martensite") and not row.error]
    print(f"\n{name}, {images} images, {case.threat.norm}, {case.model} model, {rounds} rounds: {said}")
    print(f"  {'':<34}{'s':>8}{'x peer':>9}{'x floor':>9}{'passes':>9}{'left':>9}{'median':>9}")
    for who, row in rows.items():
        if row.error:
            print(f"  {who:<34}  {row.error}")
            continue
        ratio = f"{row.median / min(peers):.2f}" if peers else ""
        over = f"{row.median / floor:.2f}" if floor else ""
        median = "" if row.distance is None else f"{row.distance:.4f}"
        print(f"  {who:<34}{row.median:>8.2f}{ratio:>9}{over:>9}{row.passes:>9.0f}{row.left:>9.3f}{median:>9}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases, comma-separated; 'list' names them")
    parser.add_argument("--who", default="", help="contenders, comma-separated parts of their names; ours always run")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: process time, for a machine that isn't quiet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=0, help="at most so many; 0: as many as each case says")
    parser.add_argument("--seconds", type=float, default=120.0, help="no further round of a case that would pass this")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    clock = CLOCKS[options.clock]

    peers, models, data = load_peers(), {}, mnist("test", 500)
    for kind in ("hardened", "standard"):
        models[kind] = bench_model(hardened=kind == "hardened").eval().requires_grad_(False)
    contenders = {kind: Contenders(peers, model) for kind, model in models.items()}
    cases = all_cases(contenders["hardened"], contenders["standard"])
    wanted = [name for name in options.only.split(",") if name]
    if unknown := [name for name in wanted if name not in cases]:
        print(f"no case {', '.join(unknown)}; there are: {', '.join(cases)}")
        return 2
    document, worse = [], []
    for name in wanted or cases:
        case = cases[name]
        images = min(case.images, options.images or case.images)
        x, y = data.x[:images], data.y[:images]
        if options.who:
            parts = options.who.split(",")
            keep = {who: run for who, run in case.runs.items() if who.startswith("martensite") or any(p in who for p in parts)}
            case = Case(case.images, case.threat, keep, case.steps, case.minimum, case.model, case.tolerance)
        floor = case.steps * images * pass_time(models[case.model], data.x[:250], data.y[:250], clock)
        rows = measure(case, models[case.model], contenders[case.model].passes, x, y, options.rounds, options.seconds, clock)
        said = verdict(case, rows)
        worse += [name] * (said.startswith(("WORSE", "FAILED")))
        show(name, case, rows, floor, said, images)
        document.append({"case": name, "images": images, "floor": floor, "verdict": said, "model": case.model})
        document[-1]["rows"] = {who: asdict(row) for who, row in rows.items()}
        if options.json is not None:
            options.json.write_text(json.dumps(document, indent=1) + "\n")
    setting = f"{options.clock} clock, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"\n{setting}. Worse than a peer: {', '.join(worse) or 'none'}.")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
