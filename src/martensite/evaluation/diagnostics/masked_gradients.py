"""A combination that is known to mask gradients: naive figures rise by it, and nobody is kept out.

Athalye, Carlini and Wagner 2018, arXiv:1802.00420, sec. 3; see `defenses.masking`.
"""

from martensite.defenses import Defended, masked
from martensite.evaluation.adaptive import BARE
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence


def masked_gradients(evidence: Evidence) -> Diagnostic | None:
    """A warning by what stands around the model; the figures are in its evidence."""
    reason = masked(evidence.model.defence) if isinstance(evidence.model, Defended) else ""
    if not reason:
        return None
    unaware = [one for one in evidence.tally.own if one.job.surrogate == BARE]
    naive = min(unaware, key=lambda one: int(one.robust.sum()), default=None)
    left, n = evidence.tally.outcomes().count("robust"), evidence.tally.n
    figures = (
        "" if naive is None else f"; {int(naive.robust.sum())} of {n} samples withstand attacks on the bare model, {left} all"
    )
    return Diagnostic(
        name="masked_gradients",
        severity="warning",
        evidence=reason + figures,
        remedy="believe only figures of adaptive attacks (BPDA, EOT), and see whether the model does better without the stage",
    )
