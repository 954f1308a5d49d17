"""A version in service: what is loaded, its queue, and what the observers hear of it."""

import time
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from martensite.core.errors import DataError
from martensite.serving.batching import Batcher, Batching, Done
from martensite.serving.loaded import Loaded
from martensite.serving.observer import Batch, Observer, Route, Share
from martensite.serving.outcome import Outcome
from martensite.serving.protocol.request import Query, as_float
from martensite.serving.refusal import Refusal

INPUT = "input"
ROUNDING = 1e-5  # of the box's width: how far rounding may carry an input out of it


class Line:
    """One loaded version and the thread that computes with it.

    Args:
        name: Of the model.
        route: Its place.
        loaded: The version.
        batching: How requests are put together.
        observer: Hears of every batch.
        refuse_flagged: What a detector flags is refused.
    """

    def __init__(
        self, name: str, route: Route, loaded: Loaded, batching: Batching, observer: Observer, *, refuse_flagged: bool = False
    ) -> None:
        self.name, self.route, self.loaded, self._refuse = name, route, loaded, refuse_flagged
        self.out = ""  # why it may not serve at present
        self.odd = ""  # why it doesn't go with the primary that came after it
        self._observer = observer
        self._batcher = Batcher(self._compute, self._tell, batching, loaded.pace, f"{name} {loaded.version}")

    @property
    def version(self) -> str:
        """Of the bundle."""
        return self.loaded.version

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return self._batcher.waiting

    @property
    def ahead(self) -> float:
        """Seconds until what it has taken is answered."""
        return self._batcher.ahead

    @property
    def detects(self) -> bool:
        """Whether detectors look at its inputs."""
        return self.loaded.detects

    @property
    def takes(self) -> tuple[int, ...]:
        """Shape of one input as clients send it; -1: any number."""
        manifest, preprocess = self.loaded.manifest, self.loaded.preprocess
        if preprocess is not None and preprocess.size is not None:
            return (manifest.shape[0], -1, -1)
        return manifest.shape

    @property
    def levels(self) -> tuple[float, float]:
        """Least and greatest value of an input as clients send it."""
        preprocess = self.loaded.preprocess
        return self.loaded.manifest.box if preprocess is None else preprocess.levels

    @property
    def idle(self) -> str:
        """Why nobody is answered by it at present; ``""`` if somebody may be."""
        return self.out or self.odd

    def has_room(self, n: int) -> None:
        """Refuse more samples than can ever wait; raises as `Batcher.fits`."""
        self._batcher.fits(n)

    def accept(self, query: Query, outside: Literal["refuse", "clip"]) -> npt.NDArray[np.float32]:
        """Inputs (n, *d) in the box from what a client sent.

        Raises:
            Refusal: 400, another name, shape or type, NaN, outside the box, or against the model's rules.
        """
        x = self.prepare(query, outside)
        try:
            reasons = self.refusals(x)
        except DataError as error:
            raise Refusal(400, error.value, error.rule, error.remedy) from None
        if (row := next((row for row, reason in enumerate(reasons) if reason), None)) is not None:
            raise Refusal(400, f"row {row} of the input is refused: {reasons[row]}", f"{self.name} has rules for its inputs")
        return x

    def prepare(self, query: Query, outside: Literal["refuse", "clip"]) -> npt.NDArray[np.float32]:
        """As `accept`, whatever the model's rules say."""
        x, takes = query.x, self.takes
        if query.name != INPUT:
            raise Refusal(400, f"the input is {query.name[:60]!r}", f"{self.name} takes one named {INPUT!r}")
        fits = x.ndim == len(takes) + 1 and all(one in (-1, side) for one, side in zip(takes, x.shape[1:], strict=True))
        if not fits or not x.size:
            raise Refusal(400, f"the input has the shape {list(x.shape)}", f"{self.name} takes {[-1, *takes]}")
        raw = as_float(x)
        if not np.isfinite(raw).all():
            raise Refusal(400, "the input holds NaN or infinity", "inputs are finite numbers", "clean the data")
        low, high = self.levels
        slack = ROUNDING * (high - low)
        if outside == "refuse" and (raw.min() < low - slack or raw.max() > high + slack):
            raise Refusal(
                400, f"the input reaches from {raw.min():.4g} to {raw.max():.4g}", f"{self.name} takes {low:g} to {high:g}"
            )
        if self.loaded.preprocess is not None:
            ready = self.loaded.preprocess.apply(torch.from_numpy(raw), self.loaded.manifest.box).numpy()
            if ready.shape[1:] != self.loaded.manifest.shape:
                raise Refusal(400, f"the input has the shape {list(x.shape)}", f"{self.name} takes {[-1, *takes]}")
            return ready
        clipped: npt.NDArray[np.float32] = raw.clip(low, high)
        return clipped

    def refusals(self, x: npt.NDArray[np.float32]) -> tuple[str | None, ...]:
        """For each row of inputs (n, *d) in the box why the model's rules refuse it, or None; raises as `InputRules.check`."""
        rules = self.loaded.rules
        return (None,) * len(x) if rules is None else rules.refusals(rules.check(x))

    async def answer(self, x: npt.NDArray[np.float32], id: str, key: str) -> Outcome:
        """The outcome of inputs (n, *d) in the box; raises as `Batcher.submit`."""
        return await self._batcher.submit(x, id, key)

    def close(self, timeout: float | None = None) -> bool:
        """Finish what waits, and end."""
        ended = self._batcher.close(timeout)
        self.loaded.sealed.drop()
        return ended

    def _compute(self, x: npt.NDArray[np.float32]) -> Outcome:
        outcome = self.loaded.backend(x)
        if not self._refuse or "flagged" not in outcome.decisions:
            return outcome
        return replace(outcome, decisions=["refused" if word == "flagged" else word for word in outcome.decisions])

    def _tell(self, done: Done) -> None:
        shares, start = [], 0
        for part in done.parts:
            stop = start + len(part.x)
            shares.append(Share(part.id, part.key, start, stop, done.began - part.arrived, part.origin))
            start = stop
        outcome = done.outcome
        self._observer.batch(
            Batch(
                model=self.name,
                version=self.version,
                digest=self.loaded.digest,
                route=self.route,
                x=done.x,
                logits=outcome.logits,
                decisions=outcome.decisions,
                score=outcome.score,
                p_value=outcome.p_value,
                shares=shares,
                seconds=done.seconds,
                queued=done.queued,
                started=time.time() - (time.perf_counter() - done.began),
            )
        )
