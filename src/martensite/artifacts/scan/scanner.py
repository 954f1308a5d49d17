"""The scan: finds files, recognises each by its content, and lets the formats look. Nothing is loaded."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from martensite.artifacts.scan import formats, opinion
from martensite.artifacts.scan.limits import LimitError, Limits
from martensite.artifacts.scan.report import Finding, ScannedFile, ScanReport, Severity, worst
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Run, Visit
from martensite.core.acts import Act, recorded
from martensite.core.errors import ArtifactError
from martensite.core.events import Event, Listener, silent

PATIENCE = 2.0  # seconds before progress is told, and a tenth of it between two events
UNKNOWN = "unrecognised"
T = TypeVar("T")


def _scanned(given: Mapping[str, Any], report: ScanReport | None) -> Act:
    paths = given["paths"]
    name = ", ".join(str(path) for path in ([paths] if isinstance(paths, str | Path) else paths))
    if report is None:
        return Act(name=name)
    (kind, digest) = ("file", report.files[0].digest or "") if len(report.files) == 1 else ("", "")
    return Act(kind, digest, name, report.severity, {"files": len(report.files), "findings": len(report.findings)})


@recorded("scan", _scanned)
def scan(
    paths: Iterable[str | Path] | str | Path, *, limits: Limits | None = None, digests: bool = False, listener: Listener = silent
) -> ScanReport:
    """Judge whether files are safe to load, without loading any.

    Args:
        paths: Files and folders; folders are searched with all below them.
        limits: What unpacking may cost.
        digests: Note each file's SHA-256.
        listener: Told of progress if the scan takes longer than two seconds.

    Returns:
        A finding for everything that isn't known to be harmless, and for everything that couldn't be judged.

    Raises:
        ArtifactError: a path that doesn't exist.
    """
    began = time.monotonic()
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    for path in given:
        if not os.path.lexists(path):
            raise ArtifactError(f"{path} does not exist", "files and folders can be scanned", "check the path")
    found = list(_files(given))
    results: list[tuple[ScannedFile, list[Finding], set[str]]] = []
    for done, (path, trouble) in enumerate(found):
        tick = _ticker(began, done, len(found), listener)
        results.append(_unreadable(path, trouble) if trouble else _scan_file(path, limits or Limits(), digests, tick))
    if not results:
        results = [_unreadable(path, "it holds no file") for path in given]
    raw = set().union(*(references for _, _, references in results))
    judged = [_as_raw(file, findings) if os.path.abspath(file.path) in raw else (file, findings) for file, findings, _ in results]
    return ScanReport(
        files=tuple(file for file, _ in judged),
        findings=tuple(finding for _, findings in judged for finding in findings),
        seconds=time.monotonic() - began,
        second_opinion=opinion.name(),
    )


def _files(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every file, with why it can't be read if so. Links to files are followed; links to folders could lead in a circle."""
    for path in paths:
        if not path.is_dir():
            yield path, _trouble(path)
            continue
        refused: list[OSError] = []
        for folder, inner, names in os.walk(path, onerror=refused.append):
            inner.sort()
            for name in [*inner, *sorted(names)]:
                place = Path(folder, name)
                if name in inner:
                    if place.is_symlink():
                        yield place, "links to folders aren't followed"
                else:
                    yield place, _trouble(place)
        for error in refused:
            yield Path(str(error.filename)), str(error.strerror)


def _trouble(path: Path) -> str:
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "it is a pipe, a device or a socket"
    except OSError as error:
        return str(error.strerror)


def _unreadable(path: Path, why: str) -> tuple[ScannedFile, list[Finding], set[str]]:
    shown = os.fsencode(path).decode("utf-8", "replace")
    finding = Finding(path=shown, kind="unreadable", severity="unjudged", reason=why, remedy="make it readable, or leave it out")
    return ScannedFile(path=shown, formats=(), size=0, digest=None, severity="unjudged"), [finding], set()


def _scan_file(
    path: Path, limits: Limits, digests: bool, tick: Callable[[], None]
) -> tuple[ScannedFile, list[Finding], set[str]]:
    shown = os.fsencode(path).decode("utf-8", "replace")
    run = Run(limits, look, tick)
    digest = None
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            visit = Visit(shown, Source(file, 0, size), run)
            if digests:
                digest = _digest(visit.source, tick)
            look(visit)
            opinion.ask(visit)
            if os.fstat(file.fileno()).st_size != size:
                visit.report("changed", "unjudged", "it changed while it was read", "scan it again")
    except OSError as error:
        return _unreadable(path, str(error.strerror))
    findings = list(run.findings)
    severity: Severity = worst([finding.severity for finding in findings])
    return (
        ScannedFile(path=shown, formats=tuple(run.formats), size=size, digest=digest, severity=severity),
        findings,
        {os.path.abspath(path.parent / name) for name in run.references},
    )


def look(visit: Visit) -> None:
    """Recognise and inspect. Whatever a hostile file makes of that, the scan goes on and the file isn't clean."""
    known = [form for form in formats.FORMATS if not form.fallback and _guarded(visit, form.recognises)]
    structural = [form for form in known if form is not formats.PICKLE]
    if not known:
        known = [form for form in formats.FORMATS if form.fallback and _guarded(visit, form.recognises)][:1]
    if len(known) > 1 and (structural != known or len(structural) > 1):
        names = " and ".join(form.name for form in known)
        visit.report("polyglot", "suspicious", f"it is {names} at once", "ask whoever made it for a file of one format")
    for form in known:
        visit.format = form.name
        _guarded(visit, form.inspect)
        visit.run.formats[visit.format] = None
    if not known and not visit.raw and visit.source.size:
        reason = "no format that can be judged was recognised"
        visit.report(UNKNOWN, "unjudged", reason, "leave it out, or convert it to safetensors")
    if not {formats.ZIP, formats.TAR} & set(known) and (visit.depth == 0 or not visit.raw):  # a tar's last member may be a zip
        _guarded(visit, formats.appended)


def _guarded(visit: Visit, step: Callable[[Visit], T]) -> T | None:
    try:
        return step(visit)
    except LimitError as error:
        remedy = "unpack it where there is room, and scan what comes out"
        visit.report("limit", "suspicious", f"{error}: it is a bomb, or too large to be judged", remedy)
    except OSError:
        raise
    except Exception as error:  # hostile bytes find the way nobody thought of; that one wasn't judged
        reason = f"{visit.format or 'its format'} can't be read: {type(error).__name__}"
        visit.report("unparsable", "unjudged", reason, "fetch it again")
    return None


def _as_raw(file: ScannedFile, findings: list[Finding]) -> tuple[ScannedFile, list[Finding]]:
    """Another file of this scan says that it loads this one as raw numbers: that it has no format is as it should be."""
    kept = [finding for finding in findings if finding.kind != UNKNOWN]
    return file.model_copy(update={"severity": worst([finding.severity for finding in kept])}), kept


def _digest(source: Source, tick: Callable[[], None]) -> str:
    state = hashlib.sha256()
    for piece in source.chunks():
        state.update(piece)
        tick()
    return f"sha256:{state.hexdigest()}"


def _ticker(began: float, done: int, total: int, listener: Listener) -> Callable[[], None]:
    last = began + PATIENCE

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if now >= last:
            last = now + PATIENCE / 10
            listener(Event("scan", done, total, "file"))

    tick()
    return tick
