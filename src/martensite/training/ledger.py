"""What training costs, by purpose: passes, seconds, and multiples of one standard epoch of the same run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch

Purpose = Literal["update", "attack", "validation", "guards"]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Passes:
    """Passes times samples, and the wall time that they took."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0


@dataclass
class Ledger:
    """A running account.

    Attributes:
        update: The updates of the weights.
        attack: Making adversarials to train on.
        validation: Clean and robust accuracy on held-out data.
        guards: Measurements on the guards' probe.
    """

    update: Passes = field(default_factory=Passes)
    attack: Passes = field(default_factory=Passes)
    validation: Passes = field(default_factory=Passes)
    guards: Passes = field(default_factory=Passes)

    @property
    def forwards(self) -> int:
        """Forward passes in all, times samples."""
        return sum(part.forwards for part in self._parts())

    @property
    def backwards(self) -> int:
        """Backward passes in all, times samples."""
        return sum(part.backwards for part in self._parts())

    @property
    def seconds(self) -> float:
        """Wall time in all."""
        return sum(part.seconds for part in self._parts())

    @contextmanager
    def timed(self, purpose: Purpose, device: torch.device) -> Iterator[Passes]:
        """The account of one purpose, with the block's wall time added to it."""
        part: Passes = getattr(self, purpose)
        started = now(device)
        try:
            yield part
        finally:
            part.seconds += now(device) - started

    def record(self) -> dict[str, dict[str, Any]]:
        """As JSON."""
        return {name: dict(vars(part)) for name, part in vars(self).items()}

    @classmethod
    def read(cls, record: dict[str, dict[str, Any]]) -> "Ledger":
        """From `record`."""
        return cls(**{name: Passes(**part) for name, part in record.items()})

    def _parts(self) -> tuple[Passes, ...]:
        return (self.update, self.attack, self.validation, self.guards)


@dataclass(frozen=True)
class Cost:
    """The ledger of a finished run.

    Attributes:
        update: Passes of the updates.
        attack: Passes that made adversarials to train on.
        validation: Passes of validation.
        guards: Passes of the guards' probe.
        samples: Training samples n.
        standard_epoch_seconds: Wall time of one standard epoch: the seconds that this run's updates took a pass, times n.
        peak_memory: Bytes: of the device on CUDA; else the process's peak while the run lasted (where the system can't say:
            since the process began).
    """

    update: Passes
    attack: Passes
    validation: Passes
    guards: Passes
    samples: int
    standard_epoch_seconds: float
    peak_memory: int

    @property
    def epochs_by_passes(self) -> float:
        """All passes in units of a standard epoch, which has n forward and n backward passes; no clock is involved."""
        parts = (self.update, self.attack, self.validation, self.guards)
        return sum(part.forwards + part.backwards for part in parts) / (2 * self.samples)

    @property
    def epochs_by_time(self) -> float:
        """All seconds in units of a standard epoch measured in this run."""
        total = sum(part.seconds for part in (self.update, self.attack, self.validation, self.guards))
        return total / self.standard_epoch_seconds if self.standard_epoch_seconds else 0.0

    def record(self) -> dict[str, Any]:
        """As JSON, the multiples included."""
        parts = {name: dict(vars(getattr(self, name))) for name in ("update", "attack", "validation", "guards")}
        return {
            **parts,
            "samples": self.samples,
            "standard_epoch_seconds": self.standard_epoch_seconds,
            "epochs_by_passes": self.epochs_by_passes,
            "epochs_by_time": self.epochs_by_time,
            "peak_memory": self.peak_memory,
        }


def close(ledger: Ledger, samples: int, peak_memory: int) -> Cost:
    """The ledger of a finished run over so many training samples."""
    update = ledger.update
    per_pass = update.seconds / update.forwards if update.forwards else 0.0
    return Cost(update, ledger.attack, ledger.validation, ledger.guards, samples, per_pass * samples, peak_memory)


def now(device: torch.device) -> float:
    """The clock, when the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def forget_peak(device: torch.device) -> None:
    """Start measuring `peak_memory` anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since `forget_peak`; 0 if the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
