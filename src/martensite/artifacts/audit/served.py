"""What a server records: that it loaded a model, that it serves it, and each request by digest."""

import hashlib
from collections.abc import Mapping
from typing import Any

from martensite.artifacts.audit.entry import Entry


def loaded(model: str, name: str, files: str = "", configuration: Mapping[str, Any] | None = None) -> Entry:
    """A model was loaded to serve it.

    Args:
        model: ``"sha256:..."`` of the model.
        name: What it is served as.
        files: ``"sha256:..."`` of its files, as its signature has it.
        configuration: How it computes: dtype, preprocessing, defences, quantisation.
    """
    details = {"files": files} if files else {}
    return Entry("load", "model", model, name, purpose="serve", details={**details, **(configuration or {})})


def serving(model: str, name: str, outcome: str = "begun", details: Mapping[str, Any] | None = None) -> Entry:
    """A model begins to answer (``"begun"``) or no longer does (``"done"``); ``details``: address, policy, verdict."""
    return Entry("serve", "model", model, name, outcome, details=details or {})


def requested(
    model: str,
    request: bytes,
    outcome: str = "done",
    *,
    keep: bool = False,
    name: str = "",
    details: Mapping[str, Any] | None = None,
) -> Entry:
    """A model was asked something.

    Args:
        model: ``"sha256:..."`` of the model.
        request: The request's body; recorded by its SHA-256. What has few possible values (a row of small whole numbers) can be
            guessed from that.
        outcome: ``"done"``, ``"refused"``, a status.
        keep: Keep the body as a payload, which can be deleted (`AuditLog.erase`); only where the policy allows it.
        name: Who or what asked, where that is known.
        details: E.g. the digest of the answer, alerts of monitors.
    """
    digest = "sha256:" + hashlib.sha256(request).hexdigest()
    return Entry(
        "request",
        "request",
        digest,
        name,
        outcome,
        details={"model": model, **(details or {})},
        payload=request if keep else None,
    )
