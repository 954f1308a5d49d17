"""What an evaluation costs beside its attacks, what memory it takes, and what a naive one says of models that hide.

    python benchmarks/evaluation.py                       # all three parts
    OMP_NUM_THREADS=1 python benchmarks/evaluation.py --part cost --images 100
    python benchmarks/evaluation.py --part memory --sizes 1000 3000 10000
    python benchmarks/evaluation.py --part canaries       # needs no MNIST

cost: `standard` on the bench model against the same attacks called one after the other, each on what is left, in process time and
in samples passed through the network, which no other job disturbs. It may be 3 % slower. memory: peak resident memory of an
evaluation of n images, one process each, with the parts of `standard` at few steps. canaries: PGD alone beside the suite, on the
built-in models whose robust accuracy is known.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

import martensite as mt
from martensite.attacks import EOT, FGSM, FMN, PGD, attack
from martensite.attacks.canaries import Noisy, Saturated
from martensite.evaluation import Suite, load_suite
from martensite.evaluation.canaries import NOISE, linear_canary
from martensite.evaluation.evaluate import try_suite
from martensite.evaluation.fit import fit

try:
    from bench_model import THREAT, bench_model, mnist
except ModuleNotFoundError:
    from benchmarks.bench_model import THREAT, bench_model, mnist

ALLOWED = 1.03
SMALL = Suite(
    name="small", attacks=(FGSM(), PGD(steps=2)), cascade=(PGD(steps=2, loss="margin"),), distances=FMN(steps=2),
    curve=(0.5,), curve_attack=PGD(steps=1), canaries=("linear",),
)  # fmt: skip


def one_by_one(model: mt.Classifier, data: mt.Dataset, suite: Suite) -> float:
    """Process seconds of the suite's attacks alone: each on all samples, those of the cascade on what is left."""
    jobs, broken, start = fit(suite, model, THREAT, data.shape), torch.zeros(len(data), dtype=torch.bool), time.process_time()
    for job in (*jobs.jobs, *jobs.cascade):
        left = (~broken if job.role == "survivors" else torch.ones_like(broken)).nonzero().flatten()
        result = attack(job.method, model, data.x[left], data.y[left], job.threat, indices=left)
        if job.threat.eps <= THREAT.eps and job.method.ball:
            broken[left] |= result.success
    return time.process_time() - start


class Passes:
    """Samples that went forward through a network: all, and with a gradient to come."""

    def __init__(self, model: mt.Classifier) -> None:
        self.all = self.with_gradient = 0
        self.handle = model.register_forward_pre_hook(self._count)

    def _count(self, module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        self.all += len(inputs[0])
        self.with_gradient += len(inputs[0]) * torch.is_grad_enabled()

    def taken(self) -> tuple[int, int]:
        """Both, since they were last taken."""
        found, self.all, self.with_gradient = (self.all, self.with_gradient), 0, 0
        return found


def cost(images: int, rounds: int) -> bool:
    """Whether an evaluation is at most 3 % slower than its attacks, by the medians of interleaved rounds.

    Canaries are sung once a process, suite and norm, whatever n is: they are told apart.
    """
    model, data, suite = bench_model(), mnist("test", images), load_suite("standard")
    start = time.process_time()
    try_suite(suite, THREAT.norm, model.access)
    print(f"  canaries, once: {time.process_time() - start:.1f} s", flush=True)
    whole, alone, passes = [], [], Passes(model)
    for number in range(rounds):
        passes.taken()
        alone.append(one_by_one(model, data, suite))
        least = passes.taken()
        start = time.process_time()
        report = mt.evaluate(model, data, THREAT, suite)
        whole.append(time.process_time() - start)
        print(f"  round {number + 1}: evaluate {whole[-1]:.1f} s, its attacks alone {alone[-1]:.1f} s", flush=True)
        for kind, ours, theirs in zip(("passes", "with gradient"), passes.taken(), least, strict=True):
            print(f"    {kind}: {ours:,} samples, {theirs:,} alone: {ours / theirs:.3f} times", flush=True)
    ratio = float(torch.tensor(whole).median() / torch.tensor(alone).median())
    print(f"standard, {images} images: {report.robust_accuracy} robust; {ratio:.3f} times its attacks alone, {ALLOWED} allowed")
    return ratio <= ALLOWED


def peak(n: int) -> None:
    """Evaluate n images in this process; its peak memory, and that before, as JSON in MiB."""
    model, data, threat = bench_model(hardened=False), mnist("test"), THREAT.at(0.05)  # enough is left for the cascade
    mt.evaluate(model, data.subset(slice(0, 250)), threat, SMALL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = mt.evaluate(model, data.subset(slice(0, n)), threat, SMALL)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"n": report.data.n, "before": before, "peak": after}))


def memory(sizes: list[int]) -> None:
    """A process a size."""
    for n in sizes:
        command = [sys.executable, __file__, "--peak", str(n)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(
            f"{n:>6,} images: peak {found['peak']:,.0f} MiB, {found['peak'] - found['before']:,.0f} above 250 images", flush=True
        )


def canaries() -> None:
    """PGD alone and the suite, side by side with the truth, over a few seeds."""
    net, data, threat = linear_canary("linf")
    n, true = len(data), len(data) // 2
    spread = NOISE * float(net(data.x).detach().abs().max())
    naive = Suite(name="naive", attacks=(PGD(steps=40),))
    drawn = Suite(name="drawn", attacks=(EOT(attack=PGD(steps=40, loss="margin"), samples=20, judge_samples=200),))
    print(f"robust of {n}  in truth  PGD alone, 3 seeds  ours, 3 seeds  self-checks that stand against PGD alone")
    for name, make, suite in (
        ("masked", lambda seed: mt.Classifier(Saturated(net), 2), load_suite("standard")),
        ("stochastic", lambda seed: mt.Classifier(Noisy(net, spread, seed), 2), drawn),
    ):
        reports = [(mt.evaluate(make(s), data, threat, naive, seed=s), mt.evaluate(make(s), data, threat, suite, seed=s))
                   for s in range(3)]  # fmt: skip
        left = [", ".join(str(one.robust_accuracy.count) for one in column) for column in zip(*reports, strict=True)]
        found = ", ".join(one.name for one in reports[0][0].invalid)
        print(f"{name:<12}  {true:>8}  {left[0]:>18}  {left[1]:>13}  {found}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("cost", "memory", "canaries"), action="append")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        return peak(options.peak)
    parts = options.part or ["canaries", "memory", "cost"]
    if "canaries" in parts:
        canaries()
    if "memory" in parts:
        memory(options.sizes)
    if "cost" in parts and not cost(options.images, options.rounds):
        sys.exit(1)
    return None


if __name__ == "__main__":
    main()
