"""The audit log: who did what to which digest when. Needs the extra ``evidence``; names are loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from martensite.artifacts.audit.checkpoint import Checkpoint, read_checkpoints
    from martensite.artifacts.audit.database import Database
    from martensite.artifacts.audit.entry import Entry, Record
    from martensite.artifacts.audit.log import AuditLog
    from martensite.artifacts.audit.served import loaded, requested, serving
    from martensite.artifacts.audit.trail import Trail, audit
    from martensite.artifacts.audit.verify import Verification, verify_log
    from martensite.artifacts.audit.writer import Writer

_HOMES = {
    "AuditLog": "log",
    "Checkpoint": "checkpoint",
    "Database": "database",
    "Entry": "entry",
    "Record": "entry",
    "Trail": "trail",
    "Verification": "verify",
    "Writer": "writer",
    "audit": "trail",
    "loaded": "served",
    "read_checkpoints": "checkpoint",
    "requested": "served",
    "serving": "served",
    "verify_log": "verify",
}

__all__ = [
    "AuditLog",
    "Checkpoint",
    "Database",
    "Entry",
    "Record",
    "Trail",
    "Verification",
    "Writer",
    "audit",
    "loaded",
    "read_checkpoints",
    "requested",
    "serving",
    "verify_log",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
