"""Self-checks of an evaluation, one a file. Each looks at the evidence and finds something, or nothing.

Most follow Carlini et al. 2019, "On evaluating adversarial robustness", arXiv:1902.06705, sec. 4 and 5, and Athalye, Carlini and
Wagner 2018, "Obfuscated gradients give a false sense of security", arXiv:1802.00420, sec. 3.1.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from martensite.core.errors import ModelError, UnreachableError
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.black_box_beats_white_box import black_box_beats_white_box
from martensite.evaluation.diagnostics.contradiction import contradiction
from martensite.evaluation.diagnostics.distances_disagree import distances_disagree
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.diagnostics.fgsm_beats_pgd import fgsm_beats_pgd
from martensite.evaluation.diagnostics.flat_gradients import flat_gradients
from martensite.evaluation.diagnostics.loss_saturates import loss_saturates
from martensite.evaluation.diagnostics.masked_gradients import masked_gradients
from martensite.evaluation.diagnostics.more_steps_gain import more_steps_gain
from martensite.evaluation.diagnostics.noise_breaks import noise_breaks
from martensite.evaluation.diagnostics.normalised_inputs import normalised_inputs
from martensite.evaluation.diagnostics.not_adaptive import not_adaptive
from martensite.evaluation.diagnostics.outputs_are_probabilities import outputs_are_probabilities
from martensite.evaluation.diagnostics.predictions_change import predictions_change
from martensite.evaluation.diagnostics.training_mode import training_mode
from martensite.evaluation.diagnostics.whole_box_unbroken import whole_box_unbroken

CHECKS = (
    contradiction,
    not_adaptive,
    masked_gradients,
    predictions_change,
    whole_box_unbroken,
    noise_breaks,
    flat_gradients,
    fgsm_beats_pgd,
    black_box_beats_white_box,
    more_steps_gain,
    distances_disagree,
    outputs_are_probabilities,
    loss_saturates,
    normalised_inputs,
    training_mode,
)

__all__ = ["CHECKS", "Evidence", "check_all", "tried"]


def check_all(evidence: Evidence, known: Tensor) -> tuple[Diagnostic, ...]:
    """What every check finds, on the samples (n,) bool whose clean input the model answered."""
    if not bool(known.all()):
        rows = known.nonzero().flatten()
        evidence = replace(
            evidence,
            data=evidence.data.subset(rows),
            tally=evidence.tally.part(rows),
            logits=evidence.logits[rows],
            certified=None if evidence.certified is None else evidence.certified[rows],
        )
    return tuple(finding for check in CHECKS if (finding := tried(check, evidence)) is not None)


def tried(check: Callable[[Evidence], Diagnostic | None], evidence: Evidence) -> Diagnostic | None:
    """What a check finds; one whose queries fail says so, and stops nothing."""
    try:
        return check(evidence)
    except UnreachableError:
        raise
    except ModelError as error:
        return Diagnostic(
            name=check.__name__,
            severity="warning",
            evidence=f"the check could not be run: {error.value}",
            remedy="find out why the model did not answer, and evaluate again",
        )
