"""Certificates as a report: certified accuracy over radii, with intervals."""

from math import floor

import torch

from martensite.certification import Certificates, Certifier
from martensite.data.dataset import Dataset
from martensite.evaluation.evaluate import record
from martensite.evaluation.report import CertificationReport, CurvePoint, Environment, Rate
from martensite.models import Classifier
from martensite.models.digest import model_digest

POINTS = 13  # of the certified-accuracy curve


def summarise_certificates(
    certificates: Certificates, method: Certifier, model: Classifier, data: Dataset, seed: int
) -> CertificationReport:
    """The typed report of certificates of all samples of a dataset."""
    n = len(data)
    largest = float(certificates.radius.max())
    tested = () if certificates.record is None else certificates.record.radii
    grid = [floor(1e4 * largest * step / (POINTS - 1)) / 1e4 for step in range(POINTS)] if largest > 0 else [0.0]
    if tested:  # between two of them nothing changes
        grid = [0.0, *[radius for radius in tested if radius <= largest]]
    right = certificates.correct
    return CertificationReport(
        model_digest=model_digest(model),
        data=record(data),
        method=method.model_dump(mode="json"),
        norm=certificates.norm,
        seed=seed,
        accuracy=Rate.of(int(right.sum()), n),
        certified=tuple(
            CurvePoint(eps=radius, accuracy=Rate.of(int(certificates.certified(radius).sum()), n))
            for radius in dict.fromkeys(grid)  # rounded, very short radii are one
        ),
        abstained=int(certificates.abstained.sum()),
        samples=int(certificates.samples.sum()),
        radius=tuple(torch.where(right, certificates.radius, 0.0).tolist()),
        average_radius=certificates.average_radius,
        agreement=() if certificates.agreement is None else tuple(certificates.agreement.tolist()),
        margins=() if certificates.margins is None else tuple(certificates.margins.tolist()),
        record=certificates.record,
        environment=Environment.here(),
        timing={"total": certificates.seconds},
    )
