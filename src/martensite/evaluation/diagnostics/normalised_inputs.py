"""Inputs that look normalised already: then eps is not in the units of the inputs."""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence


def normalised_inputs(evidence: Evidence) -> Diagnostic | None:
    """A box that goes below zero, a mean near zero and a standard deviation near one."""
    x, (low, _) = evidence.data.x, evidence.threat.box
    mean, std = float(x.mean()), float(x.std()) if x.numel() > 1 else 0.0
    if not (low < 0 and abs(mean) < 0.25 and 0.6 < std < 1.5):
        return None
    return Diagnostic(
        name="normalised_inputs",
        severity="warning",
        evidence=f"the inputs have mean {mean:.3f} and standard deviation {std:.3f}, in a box from {low:g}",
        remedy="give inputs in their own units and normalise inside the model (mean=, std=), so that eps means what it says",
    )
