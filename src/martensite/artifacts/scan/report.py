"""What a scan says: findings, the files they were found in, and one severity for all."""

from typing import Literal

from pydantic import computed_field

from martensite.core.config import Config

Severity = Literal["clean", "unjudged", "suspicious", "dangerous"]
RANK: dict[Severity, int] = {"clean": 0, "unjudged": 1, "suspicious": 2, "dangerous": 3}
EXIT_CODES: dict[Severity, int] = {"clean": 0, "unjudged": 3, "suspicious": 1, "dangerous": 1}


class Finding(Config):
    """One reason not to load a file, or not to call it clean.

    Attributes:
        path: The file; what lies inside it comes after ``!``: ``model.zip!data.pkl``.
        kind: What sort of reason, e.g. ``"pickle-import"``.
        severity: ``"dangerous"``: known to run or read what it shouldn't; ``"suspicious"``: not known to be harmless;
            ``"unjudged"``: it could not be looked at.
        reason: In plain words.
        remedy: What to do about it.
    """

    path: str
    kind: str
    severity: Severity
    reason: str
    remedy: str = ""


class ScannedFile(Config):
    """One file as it lies on the disk.

    Attributes:
        path: As found.
        formats: What it was recognised as; none if it wasn't.
        size: In bytes.
        digest: SHA-256 of the bytes that were judged; None unless asked for.
        severity: Of its worst finding.
    """

    path: str
    formats: tuple[str, ...]
    size: int
    digest: str | None
    severity: Severity


class ScanReport(Config):
    """Everything that a scan found.

    Attributes:
        files: One a file, in order of their paths.
        findings: In order of the files.
        seconds: Wall time.
        second_opinion: Name and version of the scanner that was asked as well; empty if none is installed.
    """

    format: Literal["martensite-scan-1"] = "martensite-scan-1"
    files: tuple[ScannedFile, ...]
    findings: tuple[Finding, ...]
    seconds: float
    second_opinion: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def severity(self) -> Severity:
        """Of the worst finding; ``"unjudged"`` if there was no file."""
        return worst([finding.severity for finding in self.findings]) if self.files or self.findings else "unjudged"

    @property
    def exit_code(self) -> int:
        """0: clean; 1: something was found; 3: something could not be judged."""
        return EXIT_CODES[self.severity]


def worst(severities: list[Severity]) -> Severity:
    """The highest of them; ``"clean"`` of none."""
    return max(severities, key=RANK.__getitem__, default="clean")
