"""The audit log: who did what to which digest when. Needs the extra ``evidence``; names are loaded when first used."""

from typing import TYPE_CHECKING

from martensite.core.lazy import on_demand

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
    "AuditLog": "martensite.artifacts.audit.log",
    "Checkpoint": "martensite.artifacts.audit.checkpoint",
    "Database": "martensite.artifacts.audit.database",
    "Entry": "martensite.artifacts.audit.entry",
    "Record": "martensite.artifacts.audit.entry",
    "Trail": "martensite.artifacts.audit.trail",
    "Verification": "martensite.artifacts.audit.verify",
    "Writer": "martensite.artifacts.audit.writer",
    "audit": "martensite.artifacts.audit.trail",
    "loaded": "martensite.artifacts.audit.served",
    "read_checkpoints": "martensite.artifacts.audit.checkpoint",
    "requested": "martensite.artifacts.audit.served",
    "serving": "martensite.artifacts.audit.served",
    "verify_log": "martensite.artifacts.audit.verify",
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

__getattr__ = on_demand(__name__, _HOMES)
