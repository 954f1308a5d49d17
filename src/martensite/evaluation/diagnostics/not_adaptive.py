"""A defended model that no attack was adapted to: such figures say how the defence surprises attacks, not how robust it is.

Tramer, Carlini, Brendel and Madry 2020, "On adaptive attacks to adversarial example defenses", arXiv:2002.08347.
"""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence, by_gradients
from martensite.models import Model


def not_adaptive(evidence: Evidence) -> Diagnostic | None:
    """Invalid, unless some attack by gradients went through the defence, and over many draws where it answers at random."""
    names = defences(evidence.model)
    if not names:
        return None
    through = [one for one in evidence.tally.judging if by_gradients(one)]
    drawn = [one for one in through if one.method.jury.draws > 1]
    if drawn or (through and not getattr(evidence.model, "random", False)):
        return None
    missing = "asked for the mean of many draws, and it answers at random" if through else "followed gradients through it"
    return Diagnostic(
        name="not_adaptive",
        severity="invalid",
        evidence=f"the model is defended ({', '.join(names)}) and no attack {missing}",
        remedy="attack it adaptively: gradients through every stage (BPDA), eot over randomness, a detector's score in the loss",
    )


def defences(model: Model) -> tuple[str, ...]:
    """What stands around a model, by name: of a defended classifier its stages, of a black box what its owner says."""
    stages = getattr(getattr(model, "defence", None), "names", ())
    return tuple(stages) or tuple(getattr(model, "defended", ()))
