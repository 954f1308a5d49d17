"""The sampler: draws noisy copies of many inputs and packs them into full batches, whatever each input still needs.

An input's noise is its own: block after block from streams named by (seed, stage, index, number of the first sample). What batch
its copies travel in depends on the batch size and on the other inputs; what they are doesn't.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from martensite.certification.journal import Journal, Tally
from martensite.certification.plan import Course, Plan
from martensite.core.rng import generator
from martensite.models import Classifier, check_logits

BLOCK = 64  # noisy copies drawn at once; part of the streams' names: torch draws normals differently in other block sizes
Draw = Callable[[Tensor, Tensor, torch.Generator], None]


@dataclass(eq=False)
class _Input:
    """An input on its way through the plan; ``drawn`` of its noisy copies are made, ``seen`` have been classified."""

    place: int
    course: Course
    counts: NDArray[np.int64]
    drawn: int = 0
    seen: int = 0


class Pool:
    """Takes inputs through a plan.

    Args:
        model: In evaluation mode.
        x: (n, *d) inputs.
        indices: (n,) which name the streams.
        draw: Fills a tensor (m, *d) with noisy copies of one input (*d), from a generator given; all on the CPU.
        plan: What is tested, and when.
        seed: Of all randomness.
        stage: Name in the streams.
        batch_size: Noisy copies a pass.
    """

    def __init__(
        self, model: Classifier, x: Tensor, indices: Tensor, draw: Draw, plan: Plan, seed: int, stage: str, batch_size: int
    ) -> None:
        self.model, self.x, self.indices, self.draw = model, x.cpu(), indices.tolist(), draw
        self._device = model.device  # asking takes as long as a small operation
        self.plan, self.seed, self.stage, self.batch_size = plan, seed, stage, batch_size
        # Noise is drawn where the pass reads it; the last block may reach past a batch.
        self._copies = torch.empty(batch_size + BLOCK - 1, *x.shape[1:], dtype=x.dtype)
        self._owners: deque[tuple[_Input, int]] = deque()  # whose they are, in order, and how many each
        self._held = 0

    def run(self, guesses: list[int], journal: Journal | None, finished: Callable[[int, Tally], None]) -> list[Tally]:
        """Sample until every input is decided.

        Args:
            guesses: (n,) the class of each input whose absence is a miss.
            journal: Where finished inputs are kept and found; None: nowhere.
            finished: Called once an input.

        Raises:
            ModelError: NaN or infinite logits, or a wrong shape.
        """
        kept: dict[int, Tally] = {} if journal is None else journal.read()
        tallies: dict[int, Tally] = {}
        for place in sorted(kept.keys() & set(range(len(self.x)))):
            tallies[place] = kept[place]
            finished(place, kept[place])
        waiting = deque(self._enter(place) for place in range(len(self.x)) if place not in tallies)
        while waiting or self._held:
            while waiting and self._held < self.batch_size:
                self._draw_block(one := waiting[0])
                if one.drawn == one.course.next:
                    waiting.popleft()
            # Those under way go first, so that inputs are finished one after the other rather than all at the end.
            for one in reversed(self._pass()):
                one.course.see(one.seen - one.counts[guesses[one.place]])
                if not one.course.done:
                    waiting.appendleft(one)
                    continue
                tallies[one.place] = tally = Tally(one.seen, tuple(one.counts.tolist()), one.course.level)
                if journal is not None:
                    journal.write(one.place, tally)
                finished(one.place, tally)
        return [tallies[place] for place in range(len(self.x))]

    def _enter(self, place: int) -> _Input:
        return _Input(place, Course(self.plan), np.zeros(self.model.classes, dtype=np.int64))

    def _draw_block(self, one: _Input) -> None:
        """Draw one block of what the input's next look still lacks."""
        size = min(BLOCK, one.course.next - one.drawn)
        rng = generator(self.seed, self.stage, self.indices[one.place], one.drawn)
        self.draw(self.x[one.place], self._copies[self._held : self._held + size], rng)
        self._owners.append((one, size))
        one.drawn, self._held = one.drawn + size, self._held + size

    def _pass(self) -> list[_Input]:
        """Classify a batch of what was drawn; returns the inputs whose look it completed."""
        size = min(self._held, self.batch_size)
        winners = self._winners(self._copies[:size].to(self._device))
        start, ready = 0, []
        while start < size:
            one, owned = self._owners.popleft()
            end = min(start + owned, size)
            if start + owned > size:
                self._owners.appendleft((one, start + owned - size))
            one.counts += np.bincount(winners[start:end], minlength=self.model.classes)
            one.seen += end - start
            start = end
            if one.seen == one.course.next:
                ready.append(one)
        self._held -= size
        if self._held:  # the rest of the last block goes first next time
            self._copies[: self._held] = self._copies[size : size + self._held].clone()
        return ready

    def _winners(self, shown: Tensor) -> NDArray[np.int64]:
        """(m,) the class that the model gives each copy."""
        logits = self.model(shown)
        total = float(logits.sum()) if isinstance(logits, Tensor) else 0.0
        # One sum sees whatever isn't finite; only if it does, or the shape is odd, is the careful check worth its time.
        if total - total != 0.0 or getattr(logits, "shape", None) != (len(shown), self.model.classes):
            logits = check_logits(logits, len(shown), self.model.classes)
        found: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        return found
