"""REPORT on the command line: a report.json of either kind, or the run directory that holds one."""

import json
from pathlib import Path

from martensite.core.errors import ArtifactError
from martensite.evaluation import RobustnessReport, RunReport


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
