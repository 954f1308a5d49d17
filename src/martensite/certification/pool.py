"""The sampler: draws noisy copies of many inputs and packs them into full batches, whatever each input still needs.

An input's noise is its own: block after block from streams named by (seed, stage, index, number of the first sample). What batch
its copies travel in depends on the batch size and on the other inputs; what they are doesn't.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from martensite.certification.journal import Journal, Tally
from martensite.certification.plan import Course, Plan
from martensite.core.rng import generator
from martensite.models import Classifier, check_logits

BLOCK = 64  # noisy copies drawn at once; part of the streams' names: torch draws normals differently in other block sizes
Draw = Callable[[Tensor, int, torch.Generator], Tensor]


@dataclass(eq=False)
class _Input:
    """An input on its way through the plan; ``drawn`` of its noisy copies are made, ``seen`` have been classified."""

    place: int
    course: Course
    counts: NDArray[np.int64]
    drawn: int = 0
    seen: int = 0


@dataclass(eq=False)
class Pool:
    """Takes inputs through a plan.

    Args:
        model: In evaluation mode.
        x: (n, *d) inputs, on the model's device.
        indices: (n,) which name the streams.
        draw: Noisy copies (m, *d) of one input (*d), of a number and from a generator given.
        plan: What is tested, and when.
        seed: Of all randomness.
        stage: Name in the streams.
        batch_size: Noisy copies a pass.
    """

    model: Classifier
    x: Tensor
    indices: Tensor
    draw: Draw
    plan: Plan
    seed: int
    stage: str
    batch_size: int
    _pieces: deque[tuple[_Input, Tensor]] = field(default_factory=deque)
    _held: int = 0

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
        while waiting or self._pieces:
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
        rng = generator(self.seed, self.stage, int(self.indices[one.place]), one.drawn)
        self._pieces.append((one, self.draw(self.x[one.place], size, rng)))
        one.drawn, self._held = one.drawn + size, self._held + size

    def _pass(self) -> list[_Input]:
        """Classify a batch of what was drawn; returns the inputs whose look it completed."""
        batch, room = [], self.batch_size
        while self._pieces and room:
            one, noisy = self._pieces.popleft()
            if len(noisy) > room:
                self._pieces.appendleft((one, noisy[room:]))
                noisy = noisy[:room]
            batch.append((one, noisy))
            room -= len(noisy)
        shown = torch.cat([noisy for _, noisy in batch]) if len(batch) > 1 else batch[0][1]
        self._held -= len(shown)
        winners = self._winners(shown)
        start, ready = 0, []
        for one, noisy in batch:
            end = start + len(noisy)
            one.counts += np.bincount(winners[start:end], minlength=self.model.classes)
            one.seen += end - start
            start = end
            if one.seen == one.course.next:
                ready.append(one)
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
