"""Takes all samples through a suite: first every job of its own, then the cascade on what is left."""

import torch
from torch import Tensor

from martensite.core.engine import Engine
from martensite.core.events import Event, Listener, silent
from martensite.evaluation.anytime import Decision, decision
from martensite.evaluation.fit import Fitted, Job
from martensite.evaluation.gather import Keeper
from martensite.evaluation.tally import Tally
from martensite.evaluation.work import SHARD, Piece, Work

BLOCK, GROWTH = 100, 0.25  # samples before the first look; what comes before each later one, as a share of those seen


def measure(
    work: Work,
    fitted: Fitted,
    engine: Engine | None = None,
    listener: Listener = silent,
    found: Keeper | None = None,
    tally: Tally | None = None,
    rows: Tensor | None = None,
) -> Tally:
    """Run what fits.

    Args:
        work: Model and data.
        fitted: The jobs.
        engine: Where they run.
        listener: Gets an event a piece.
        found: Keeps adversarials.
        tally: Of an earlier call, to go on with; None: a new one.
        rows: int64 (m,) the samples to measure; None: all.
    """
    tally = Tally(len(work.data), fitted.jobs) if tally is None else tally
    everything = torch.arange(len(work.data)) if rows is None else rows
    mine = torch.zeros(len(work.data), dtype=torch.bool)
    mine[everything] = True
    done, total = 0, -(-len(everything) // SHARD) * (len(fitted.jobs) + len(fitted.cascade))
    layers: list[tuple[Job, ...]] = [layer for layer in (fitted.jobs, *((job,) for job in fitted.cascade)) if layer]
    for layer in layers:
        if layer[0].role == "survivors" and not tally.holds(layer[0]):
            tally.add(layer)
        open_ = everything if layer is layers[0] else (tally.correct & ~tally.broken & mine).nonzero().flatten()
        pieces = [Piece(job, part) for job in layer for part in torch.split(open_, SHARD) if len(part)]
        for piece, measured in zip(pieces, (engine.map if engine else map)(work, pieces), strict=True):
            tally.of(piece.job).take(piece.rows, measured)
            if found is not None:
                found.take(piece, measured)
            done += 1
            left = float((tally.of(piece.job).robust[piece.rows]).float().mean())
            text = f"{piece.job.name} at eps {piece.job.threat.eps:.4g}"
            listener(Event("evaluate", done, max(total, done), "attack", {"robust": left}, text))
    return tally


def measure_until(
    at_least: float,
    work: Work,
    fitted: Fitted,
    known: Tensor,
    engine: Engine | None = None,
    listener: Listener = silent,
    found: Keeper | None = None,
) -> tuple[Tally, Decision]:
    """Take samples block by block, in the order of the work's data, until it is sure whether so many are robust.

    Those whose clean input got no answer, all but (n,) ``known``, are errors without being attacked.

    Raises:
        ConfigError: ``at_least`` outside (0, 1).
    """
    n, seen = len(work.data), 0
    reached = decision(0, 0, at_least, n)
    tally = Tally(n, fitted.jobs)
    while seen < n:
        block = torch.arange(seen, min(n, seen + max(BLOCK, int(GROWTH * seen))))
        measure(work, fitted, engine, listener, found, tally, block[known[block]])
        seen += len(block)
        part = tally.part(slice(0, seen))
        reached = decision(part.outcomes().count("robust"), seen, at_least, n)
        if reached.verdict != "INCONCLUSIVE":
            break
    return part, reached
