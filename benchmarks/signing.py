r"""Signing and verifying against the `model_signing` command: seconds for a model of so many bytes.

Both hash every file by SHA-256, several files at a time, and sign once; both are run as commands, so that start-up counts. The
files are random and stay in the page cache: what is measured is hashing, not the disk. Rounds take turns. Beside the time by the
clock stands processor time, which says more on a busy machine.

    python benchmarks/signing.py [--megabytes 2048] [--files 4] [--rounds 3] [--folder DIR]

Exit status 1: our median is above theirs by more than a tenth.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PASSPHRASE = "a passphrase of words"


def main() -> int:
    parser = argparse.ArgumentParser(description="martensite sign and verify against model_signing")
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room for the files; default: the system's")
    asked = parser.parse_args()
    os.environ["MARTENSITE_PASSPHRASE"] = PASSPHRASE
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        folder = Path(place)
        (folder / "model").mkdir()
        for number in range(asked.files):
            with (folder / "model" / f"{number}.safetensors").open("wb") as file:
                for _ in range(asked.megabytes // asked.files):
                    file.write(os.urandom(2**20))
        keys = ("keys", "--home", "k")
        run(folder, "martensite.cli.main", "keys", "new", "r", *keys[1:])
        run(folder, "martensite.cli.main", "keys", "export", "r", "--out", "r.pub", *keys[1:])
        shell(folder, "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "p.pem")
        shell(folder, "openssl", "ec", "-in", "p.pem", "-pubout", "-out", "p.pub")
        ours, theirs = "martensite.cli.main", "model_signing"
        commands = {
            "sign": (
                (ours, "sign", "model", *keys[1:]),
                (theirs, "sign", "key", "model", "--signature", "t", "--private_key", "p.pem"),
            ),
            "verify": (
                (ours, "verify", "model", "--key", "r.pub"),
                (theirs, "verify", "key", "model", "--signature", "t", "--public_key", "p.pub"),
            ),
        }
        slower = False
        load = "/".join(f"{one:.0f}" for one in os.getloadavg())
        print(
            f"{asked.files} files, {asked.megabytes} MiB, median of {asked.rounds} rounds, load {load} on {os.cpu_count()} cores"
        )
        print(f"{'':8} {'martensite':>24} {'model_signing':>24}")
        for what, pair in commands.items():
            times = [[run(folder, *words) for words in pair] for _ in range(asked.rounds)]
            (mine, ours_cpu), (other, their_cpu) = (
                (statistics.median(one[0] for one in column), statistics.median(one[1] for one in column))
                for column in zip(*times, strict=True)
            )
            slower |= mine > 1.1 * other
            print(f"{what:8} {mine:8.2f} s, {ours_cpu:6.2f} s cpu {other:8.2f} s, {their_cpu:6.2f} s cpu")
    return int(slower)


def run(folder: Path, module: str, *words: str) -> tuple[float, float]:
    """Seconds of a command: by the clock, and of the processors."""
    start = f"import sys; sys.argv = ['x', *sys.argv[1:]]; from {module} import main; main()"
    code = ["-c", start] if module != "model_signing" else ["-m", module]
    return shell(folder, sys.executable, *code, *words)


def shell(folder: Path, *words: str) -> tuple[float, float]:
    """The same of a command that must succeed."""
    began, before = time.perf_counter(), spent()
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began, spent() - before


def spent() -> float:
    """Processor seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
