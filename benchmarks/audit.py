"""The audit log's speed: records a second in batches of several sizes, and a million records verified.

    python benchmarks/audit.py                     SQLite in a temporary folder
    python benchmarks/audit.py --place URL         an empty PostgreSQL database
    python benchmarks/audit.py --records 100000    fewer

Wall and processor time are both told: other jobs on the machine show in the first. Medians of rounds; the million is written
once.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from martensite.artifacts.audit import AuditLog, Entry, requested, verify_log

ROUNDS = 3
MODEL = "sha256:" + "a" * 64


def entries(n: int, start: int = 0) -> list[Entry]:
    """Requests as a server records them, each with a digest of its own."""
    return [requested(MODEL, f"request {start + i}".encode(), "200", name="client", details={"ms": i % 50}) for i in range(n)]


def processor() -> float:
    """Seconds of this process and of those that it waited for."""
    return sum(
        used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def appended(log: AuditLog, n: int, batch: int) -> dict[str, float]:
    """Append n records in batches; records a second."""
    started, used = time.perf_counter(), processor()
    for start in range(0, n, batch):
        log.append(entries(min(batch, n - start), start))
    return {"wall": n / (time.perf_counter() - started), "processor": n / (processor() - used)}


def rates(log: AuditLog) -> dict[str, dict[str, float]]:
    """Median records a second by size of batch."""
    found = {}
    for batch, n in ((1, 200), (100, 5_000), (1_000, 20_000), (5_000, 20_000)):
        rounds = [appended(log, n, batch) for _ in range(ROUNDS)]
        found[str(batch)] = {clock: statistics.median(one[clock] for one in rounds) for clock in ("wall", "processor")}
    return found


def verified(log: AuditLog, workers: int) -> dict[str, float]:
    """Median seconds of a verification."""
    rounds = []
    for _ in range(ROUNDS):
        started, used = time.perf_counter(), processor()
        result = verify_log(log.database, workers=workers)
        if not result.whole:
            raise SystemExit(f"the log does not verify: {result.flaws[0].reason}")
        rounds.append({"wall": time.perf_counter() - started, "processor": processor() - used})
    return {clock: statistics.median(one[clock] for one in rounds) for clock in ("wall", "processor")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--place", help="SQLite file or URL of an empty database; default: a temporary file")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many are verified")
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, AuditLog(asked.place or Path(folder) / "audit.db") as log:
        figures: dict[str, object] = {"load": os.getloadavg()[0], "rates": (found := rates(log))}
        for batch, rate in found.items():
            print(
                f"batches of {batch:>5}: {rate['wall']:>9,.0f} records/s ({rate['processor']:,.0f} by processor time)", flush=True
            )
        left = asked.records - log.size
        whole = appended(log, left, 5_000)
        print(f"{left:,} more in batches of 5,000: {whole['wall']:,.0f} records/s ({whole['processor']:,.0f})", flush=True)
        figures |= {"size": log.size, "fill": whole, "verified": {}}
        for workers in (1, 2):
            spent = verified(log, workers)
            figures["verified"] |= {str(workers): spent}  # type: ignore[operator]
            label = f"{log.size:,} records verified, {workers} process{'es' if workers > 1 else ''}"
            print(f"{label}: {spent['wall']:.1f} s ({spent['processor']:.1f} s of processor time)", flush=True)
        if log.database.sqlite:
            print(f"{log.database.path.stat().st_size / log.size:.0f} bytes a record")
        print(f"load average {figures['load']:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
