"""A second opinion: picklescan, where it is installed (``pip install martensite[scan]``). It can only make a verdict worse.

https://github.com/mmaitre314/picklescan. It parses and doesn't load. Its strict mode calls all dangerous that it doesn't know;
the allow-list says that better, so that here it is asked for what it knows to be dangerous.
"""

import importlib.metadata
import logging
from typing import Any, cast

from martensite.artifacts.scan.report import RANK
from martensite.artifacts.scan.visit import Visit

LARGEST = 2 * 2**20  # bytes that it is asked about: it reads a pickle as a whole, and slowly
PICKLES = frozenset({"pickle", "torch-legacy"})


def name() -> str:
    """``"picklescan 1.0.5"``; empty if it isn't installed."""
    try:
        return f"picklescan {importlib.metadata.version('picklescan')}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def ask(visit: Visit) -> None:
    """Report what it calls dangerous in a pickle that seems less to us."""
    worst_of_ours = max((RANK[finding.severity] for finding in visit.run.findings), default=0)
    if worst_of_ours == RANK["dangerous"] or not PICKLES & visit.run.formats.keys() or visit.source.size > LARGEST:
        return
    try:
        from picklescan import scanner
    except ImportError:
        return
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # what it complains of was said in our own words
    visit.source.file.seek(visit.source.start)
    try:
        result: Any = scanner.scan_bytes(cast(Any, visit.source.file), visit.path)
    except Exception:  # its trouble with a hostile file is no verdict
        return
    for thing in result.globals:
        if thing.safety is scanner.SafetyLevel.Dangerous:
            reason = f"picklescan knows {thing.module}.{thing.name} as dangerous"
            visit.report("second-opinion", "dangerous", reason, "don't load it")
