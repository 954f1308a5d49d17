"""A model handed over in training mode: dropout and batch statistics would have been its defence."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.models import Model


def training_mode(evidence: Evidence) -> Diagnostic | None:
    """Only told: it is measured in evaluation mode."""
    if not evidence.training:
        return None
    return Diagnostic(
        name="training_mode",
        severity="note",
        evidence="dropout or batch normalisation was in training mode",
        remedy="it was measured in evaluation mode; serve it so as well: model.eval()",
    )


def in_training(model: Model) -> bool:
    """Whether a part whose answers depend on the mode is in training mode."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    return any(part.training for part in parts if isinstance(part, _BatchNorm | _DropoutNd))
