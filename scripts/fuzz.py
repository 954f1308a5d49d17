"""Fuzz what reads a stranger's bytes: the scanner, bundles, signatures, claims. Nothing may crash, hang, act or take much memory.

    python scripts/fuzz.py [TARGET...] [--seconds 60] [--corpus DIR]

Each target runs for so many seconds in a process of its own: with atheris (coverage-guided, Linux) where it is installed, else
with random changes to its seeds. What a target found interesting is kept in --corpus and gone on from; what breaks it is written
beside, under found/. Exit status 1: something was found.
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("scanner", "bundle", "signature", "claims")
LONGEST = 20_000  # bytes of an input
PATIENCE = 20  # seconds for one input
MEMORY = 3_000  # MiB, torch included


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz what reads a stranger's bytes")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(NAMES):
        parser.error(f"there is no target {sorted(unknown)[0]}; known are {', '.join(NAMES)}")
    if asked.here:
        return fuzz(asked.targets[0], asked.seconds, asked.corpus)
    failed = []
    for name in asked.targets or NAMES:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            words = [sys.executable, __file__, name, "--here", "--seconds", str(asked.seconds), "--corpus", str(asked.corpus)]
            environment = {**os.environ, "TMPDIR": place, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(words, env=environment, check=False)
        print(f"{name}: {'nothing was found' if done.returncode == 0 else 'something was found, see above'}", flush=True)
        failed += [name] if done.returncode else []
    return 1 if failed else 0


def fuzz(name: str, seconds: int, corpus: Path) -> int:
    """One target, in this process."""
    found, kept = corpus / "found", corpus / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") is None:
        return by_chance(name, seconds, found)
    import atheris

    sys.path.insert(0, str(Path(__file__).parent))
    with atheris.instrument_imports(include=["martensite.artifacts", "martensite.core", "fuzz_targets"]):
        import fuzz_targets as targets
    for number, seed in enumerate(targets.prepare(name)):
        (kept / f"seed-{number}").write_bytes(seed)
    limits = (f"-max_total_time={seconds}", f"-timeout={PATIENCE}", f"-rss_limit_mb={MEMORY}", f"-max_len={LONGEST}")
    atheris.Setup(["fuzz", str(kept), *limits, f"-artifact_prefix={found}/{name}-", "-print_final_stats=1"],
                  lambda data: targets.run(name, data))  # fmt: skip
    atheris.Fuzz()
    return 0


def by_chance(name: str, seconds: int, found: Path) -> int:
    """Without atheris: changes at random, with the same bounds."""
    sys.path.insert(0, str(Path(__file__).parent))
    import fuzz_targets as targets

    seeds = targets.prepare(name)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = targets.mutated(seeds[number % len(seeds)], number)[:LONGEST]
        began = time.monotonic()
        try:
            targets.run(name, data)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            if peak > MEMORY or time.monotonic() - began > PATIENCE:
                raise AssertionError(f"{peak} MiB, {time.monotonic() - began:.0f} s")
        except BaseException:
            (found / f"{name}-{number}").write_bytes(data)
            print(f"{name}: {found / f'{name}-{number}'}", file=sys.stderr)
            raise
        number += 1
    print(f"{name}: {number} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
