"""How much one key may ask: a token bucket for the rate, a count a day for the quota, kept over a restart."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from martensite.core.errors import ArtifactError
from martensite.core.files import write_text
from martensite.serving.access import ApiKey
from martensite.serving.refusal import Refusal

DAY = 86_400


class Limits:
    """Buckets and counts of every key. Used by the event loop alone.

    Args:
        path: Where the day's counts are kept; None: in memory only, so that a restart begins anew.
        clock: Seconds since 1970.

    Raises:
        ArtifactError: the file of counts is damaged.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # name to (samples that may come at once, when)
        self._day, self._used = self._read()
        self._dirty = False

    def take(self, key: ApiKey, n: int) -> int:
        """Count n samples.

        Returns:
            The day they count for, as `give_back` wants it.

        Raises:
            Refusal: 429, faster or more than the key may; 413, more than it ever may at once.
        """
        moment = self._clock()
        if key.rate is not None:
            if n > key.burst:
                raise Refusal(
                    413, f"{n} samples in one request", f"at most {key.burst} at once with this key", "split the request"
                )
            level, since = self._buckets.get(key.name, (float(key.burst), moment))
            level = min(float(key.burst), level + max(moment - since, 0.0) * key.rate)
            if level < n:
                self._buckets[key.name] = (level, moment)
                raise Refusal(
                    429,
                    "too many samples",
                    f"{key.rate:g} a second with this key",
                    "ask slower",
                    retry_after=(n - level) / key.rate,
                )
        if key.quota is not None:
            self._turn(moment)
            used = self._used.get(key.name, 0)
            if used + n > key.quota:
                left = (self._day + 1) * DAY - moment
                raise Refusal(429, f"{used} samples today", f"{key.quota} a day with this key", "ask tomorrow", retry_after=left)
            self._used[key.name] = used + n
            self._dirty = True
        if key.rate is not None:
            self._buckets[key.name] = (level - n, moment)
        return self._day

    def give_back(self, key: ApiKey, n: int, day: int) -> None:
        """Samples that were counted and, for the server's load, not answered: the quota has them back, the rate has not."""
        if key.quota is not None and day == self._day:
            self._used[key.name] = max(self._used.get(key.name, 0) - n, 0)
            self._dirty = True

    def save(self, always: bool = False) -> None:
        """Write the counts.

        Args:
            always: Even if they haven't changed: whether it can be done shows.

        Raises:
            StorageError: the disk refused it.
        """
        if self._path is not None and (self._dirty or always):
            self._dirty = False
            used = dict(self._used)  # a copy: the event loop goes on counting
            write_text(self._path, json.dumps({"day": self._day, "used": used}) + "\n")

    def _turn(self, moment: float) -> None:
        day = int(moment // DAY)
        if day > self._day:
            self._day, self._used = day, {}

    def _read(self) -> tuple[int, dict[str, int]]:
        today = int(self._clock() // DAY)
        if self._path is None or not self._path.exists():
            return today, {}
        try:
            document = json.loads(self._path.read_text())
            day, used = int(document["day"]), {str(name): int(n) for name, n in document["used"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise ArtifactError(f"{self._path} holds no counts", "it is damaged", "remove it: quotas then begin anew") from None
        return (day, used) if day >= today else (today, {})
