"""REPORT on the command line: a report.json of any kind, or the folder that holds one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from martensite.core.errors import ArtifactError, DataError
from martensite.evaluation import CertificationReport, ComparisonReport, RobustnessReport, RunReport, UnionReport
from martensite.pipeline.render import AnyReport

if TYPE_CHECKING:
    from torch import Tensor

    from martensite.data import Dataset
    from martensite.threat import ThreatModel


KINDS: dict[str, type[AnyReport]] = {  # by a key that no other kind has
    "hardened": RunReport,
    "union_accuracy": UnionReport,
    "pairs": ComparisonReport,
    "certified": CertificationReport,
}


def load_report(path: Path) -> RobustnessReport | RunReport:
    """The report of an evaluation or of a run.

    Raises:
        ArtifactError: missing, or another kind of report, or none.
    """
    found = load_any_report(path)
    if isinstance(found, UnionReport):
        raise ArtifactError(
            f"{path} is a report under {len(found.reports)} threat models",
            "the report of a single threat model is needed here",
            f"give one of those that evaluate left beside it: threat-1 to threat-{len(found.reports)}",
        )
    if not isinstance(found, RobustnessReport | RunReport):
        raise ArtifactError(f"{path} is a {type(found).__name__}", "a report of evaluate or run is needed", "give one of these")
    return found


def load_judged(path: Path) -> RobustnessReport | RunReport | UnionReport:
    """The report of an evaluation, under one threat model or several, or of a run: what a gate can judge.

    Raises:
        ArtifactError: missing, or another kind of report, or none.
    """
    found = load_any_report(path)
    return found if isinstance(found, UnionReport) else load_report(path)


def load_any_report(path: Path) -> AnyReport:
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
    found = [kind for key, kind in KINDS.items() if isinstance(document, dict) and key in document]
    kind: type[AnyReport] = found[0] if found else RobustnessReport
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
