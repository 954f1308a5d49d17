"""Finished inputs of a certification on disk, line by line, so that a run that was killed goes on where it was.

A file belongs to one run: model, data, method, seed. A line belongs to one input and carries its own digest; what a kill left
half-written, or what was altered, doesn't match and is done again.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from martensite.core.config import canonical_json
from martensite.core.errors import StorageError
from martensite.core.files import sha256


@dataclass(frozen=True)
class Tally:
    """What sampling found out about one input.

    Attributes:
        samples: Model evaluations.
        counts: (K,) how often each class won.
        level: Radii of the plan certified.
    """

    samples: int
    counts: tuple[int, ...]
    level: int


class Journal:
    """Tallies, or other findings, by an input's place in the run.

    Args:
        folder: Where the file lies; one folder serves any number of runs.
        title: All that the results depend on.

    Raises:
        StorageError: the disk refused it.
    """

    def __init__(self, folder: Path, title: dict[str, Any]) -> None:
        self._name = sha256(canonical_json(title).encode()).removeprefix("sha256:")[:32]
        self.path = folder / f"{self._name}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            self._file = self.path.open("a", encoding="utf-8")
            if torn:
                self._file.write("\n")
        except OSError as error:
            raise self._refused(error) from None

    def read(self) -> dict[int, Tally]:
        """The tallies kept, by place."""
        kept: dict[int, Tally] = {}
        for place, body in self.findings().items():
            try:
                kept[place] = Tally(int(body["samples"]), tuple(body["counts"]), int(body["level"]))
            except (KeyError, TypeError):
                continue
        return kept

    def write(self, place: int, tally: Tally) -> None:
        """Keep one tally; it survives this process, whatever ends it."""
        self.keep(place, {**asdict(tally), "counts": list(tally.counts)})

    def findings(self) -> dict[int, dict[str, Any]]:
        """What was kept, by place."""
        kept: dict[int, dict[str, Any]] = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                document = json.loads(line)
                body = document["tally"]
                if document["digest"] == self._digest(document["place"], body):
                    kept[document["place"]] = body
            except (ValueError, KeyError, TypeError):
                continue
        return kept

    def keep(self, place: int, body: dict[str, Any]) -> None:
        """Keep what was found about one input, as JSON; it survives this process, whatever ends it."""
        try:
            self._file.write(canonical_json({"place": place, "tally": body, "digest": self._digest(place, body)}) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _digest(self, place: int, body: dict[str, Any]) -> str:
        return sha256(canonical_json([self._name, place, body]).encode())

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path} can't be written: {error.strerror or error}",
            "what was kept before is unharmed",
            "free space or choose another folder, then run again: it goes on from there",
        )
