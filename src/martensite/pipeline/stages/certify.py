"""Stage 6: certify the hardened model on a part of the test data."""

from pathlib import Path

from martensite.certification import certify
from martensite.evaluation import summarise_certificates
from martensite.pipeline.context import Run


def certify_stage(run: Run, folder: Path) -> None:
    """Leaves certificates.json."""
    plan, model = run.pipeline, run.hardened()
    data = run.data("test")
    data = data.subset(slice(0, plan.certify.samples))
    method = plan.certify.method
    certificates = certify(model, data.x, data.y, method, threat=plan.threat, seed=plan.seed, listener=run.listener)
    summarise_certificates(certificates, method, model, data, plan.seed).save(folder / "certificates.json")
