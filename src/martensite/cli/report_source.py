"""REPORT on the command line: a report.json of either kind, or the run directory that holds one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from martensite.core.errors import ArtifactError, DataError
from martensite.evaluation import CertificationReport, RobustnessReport, RunReport

if TYPE_CHECKING:
    from torch import Tensor

    from martensite.data import Dataset
    from martensite.threat import ThreatModel


def load_report(path: Path) -> RobustnessReport | RunReport:
    """The report at that path.

    Raises:
        ArtifactError: missing, or no report.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{file} can't be read: {error.strerror}", remedy="give a report.json or a finished run directory"
        ) from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{file} is not JSON", "it is truncated, or another kind of file") from None
    kind = RunReport if isinstance(document, dict) and "hardened" in document else RobustnessReport
    return kind.load(file)


def certified_radii(path: Path, data: "Dataset", threat: "ThreatModel") -> "Tensor":
    """(n,) the radii of a report of ``certify``.

    Raises:
        ArtifactError: missing, or no such report.
        DataError: it is about other samples or another norm.
    """
    import torch

    report = CertificationReport.load(path)
    if report.data.digest != data.digest or report.norm != threat.norm:
        raise DataError(
            f"{path} is about {report.data.n} samples of {report.data.name} in {report.norm}",
            f"a radius belongs to a sample, and to a norm: these are {len(data)} of {data.name} in {threat.norm}",
            "certify the same samples in the same norm",
        )
    return torch.tensor(report.radius, dtype=torch.float64)
