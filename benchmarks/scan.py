r"""The scanner against picklescan, modelscan and fickling: what is found, what is a false alarm, megabytes a second.

The corpus is that of the tests (tests/artifacts/scan/conftest.py): hostile files built byte by byte, and files that
scikit-learn, joblib, torch, numpy and safetensors wrote. Nothing of it is loaded. "flagged": the scanner said that something is
wrong. A scanner that fails on a file or skips it hasn't flagged it; "no verdict" counts those among the hostile ones. Beside all
hostile files stand those that are pickles, alone or in an archive: all that picklescan and fickling mean to judge. One process,
one thread; speeds are medians of rounds by processor time, the scanners in turn: on one pickle of many small objects, and on a
torch checkpoint.

    pip install --target /tmp/scanners --no-deps picklescan modelscan fickling tomlkit kaitaistruct stdlib_list asttokens \
        astunparse
    python benchmarks/scan.py [--peers /tmp/scanners] [--rounds 3] [--megabytes 64] [--json FILE]

A scanner that isn't there is left out. Exit status 1: a hostile file that a peer flags and we don't.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import torch

import martensite as mt

Verdict = bool | None  # flagged, clean, or none
Judge = Callable[[Path], Verdict]
CORPUS = Path(__file__).parents[1] / "tests" / "artifacts" / "scan" / "conftest.py"
PICKLED = (".pkl", ".bin", ".pt", ".zip", ".npy", ".npz", ".joblib", ".gz")


def judges(peers: Path | None) -> dict[str, Judge]:
    """Every scanner that is installed."""
    if peers is not None:
        sys.path.append(str(peers))
    found: dict[str, Judge] = {"martensite": _ours}
    for name, build in (("picklescan", _picklescan), ("modelscan", _modelscan), ("fickling", _fickling)):
        try:
            found[name] = build()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def _ours(path: Path) -> Verdict:
    severity = mt.scan(path).severity
    return None if severity == "unjudged" else severity != "clean"


def _picklescan() -> Judge:
    from picklescan import scanner

    def judge(path: Path) -> Verdict:
        result = scanner.scan_file_path(str(path))
        return bool(result.issues_count) or (None if result.scan_err or not result.scanned_files else False)

    return judge


def _modelscan() -> Judge:
    from modelscan.modelscan import ModelScan

    def judge(path: Path) -> Verdict:
        result = ModelScan().scan(path)
        if result["summary"]["total_issues"]:
            return True
        return None if result["errors"] or not result["summary"]["scanned"]["total_scanned"] else False

    return judge


def _fickling() -> Judge:
    import fickling

    def judge(path: Path) -> Verdict:
        return not fickling.is_likely_safe(str(path))

    return judge


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def verdict(judge: Judge, path: Path) -> Verdict:
    """What a scanner says; none if it fails."""
    try:
        with _quiet():
            return judge(path)
    except (Exception, SystemExit):
        return None


def corpus(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Hostile and benign files, written into the folder."""
    spec = importlib.util.spec_from_file_location("corpus", CORPUS)
    if spec is None or spec.loader is None:
        sys.exit(f"{CORPUS} is missing: run this from the repository")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bad, good = folder / "hostile", folder / "benign"
    bad.mkdir()
    good.mkdir()
    for name, (content, least) in module.hostile(folder / "canary").items():
        if least != "unjudged":
            (bad / name).write_bytes(content)
    module.write_benign(good)
    return {path.name: path for path in sorted(bad.iterdir())}, {path.name: path for path in sorted(good.iterdir())}


def large(folder: Path, megabytes: int) -> dict[str, Path]:
    """A checkpoint of that size, and a pickle of small objects of about a tenth of it."""
    rows = [[number * 1.5, number, f"row {number}"] for number in range(megabytes * 4_000)]
    (folder / "objects.pkl").write_bytes(pickle.dumps(rows))
    torch.save({str(number): torch.zeros(megabytes * 2**18 // 4) for number in range(4)}, folder / "checkpoint.pt")
    return {"objects": folder / "objects.pkl", "checkpoint": folder / "checkpoint.pt"}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    scanners = judges(options.peers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bad, good = corpus(folder)
        said = {who: {file: verdict(judge, path) for file, path in bad.items()} for who, judge in scanners.items()}
        alarms = {who: {file: verdict(judge, path) for file, path in good.items()} for who, judge in scanners.items()}
        speeds: dict[str, dict[str, list[float]]] = {who: {} for who in scanners}
        for kind, path in large(folder, options.megabytes).items():
            for _ in range(options.rounds):
                for who, judge in scanners.items():
                    began = time.process_time()
                    if verdict(judge, path) is not None:
                        rate = path.stat().st_size / 1e6 / (time.process_time() - began)
                        speeds[who].setdefault(kind, []).append(rate)
        if (folder / "canary").exists():
            print("the canary sang: some scanner executed a file", file=sys.stderr)
    return _print(said, alarms, speeds, options.json)


def _print(
    said: dict[str, dict[str, Verdict]],
    alarms: dict[str, dict[str, Verdict]],
    speeds: dict[str, dict[str, list[float]]],
    out: Path | None,
) -> int:
    rows = []
    print(
        f"{'':12}{'hostile':>12}{'pickles':>12}{'no verdict':>12}{'false alarms':>14}{'objects MB/s':>14}{'checkpoint MB/s':>17}"
    )
    for who, verdicts in said.items():
        pickles = [flagged for file, flagged in verdicts.items() if file.endswith(PICKLED)]
        rates = {kind: statistics.median(values) for kind, values in speeds[who].items()}
        row = {
            "scanner": who,
            "flagged": sum(flag is True for flag in verdicts.values()),
            "hostile": len(verdicts),
            "pickles_flagged": sum(flag is True for flag in pickles),
            "pickles": len(pickles),
            "no_verdict": sum(flag is None for flag in verdicts.values()),
            "false_alarms": sum(flag is True for flag in alarms[who].values()),
            "benign": len(alarms[who]),
            "megabytes_a_second": rates,
        }
        rows.append(row)
        print(
            f"{who:12}{row['flagged']:>8}/{row['hostile']:<3}{row['pickles_flagged']:>8}/{row['pickles']:<3}{row['no_verdict']:>12}"
            f"{row['false_alarms']:>10}/{row['benign']:<3}"
            + "".join(f"{rates.get(kind, float('nan')):>{width}.1f}" for kind, width in (("objects", 14), ("checkpoint", 17)))
        )
    missed = sorted(
        f"{file} ({who})"
        for who, verdicts in said.items()
        for file, flagged in verdicts.items()
        if flagged and said["martensite"][file] is not True
    )
    for file in sorted(file for file, flag in alarms["martensite"].items() if flag):
        print(f"our false alarm: {file}")
    if missed:
        print(f"flagged by a peer only: {', '.join(missed)}")
    if out is not None:
        out.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
