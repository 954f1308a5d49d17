"""Where Alertmanager sends alerts (its webhook, version 4), for keys of the scope ``alerts``.

An alert is remembered, and shown on the page; one that the settings name suspends the model that its label ``model`` says, if its
label ``digest`` is that of the version that serves, or missing.
"""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from martensite.serving.fleet import Fleet
from martensite.serving.monitoring.snapshot import Alert
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.document import body_of, read_document
from martensite.serving.routes.errors import ERRORS

log = logging.getLogger("martensite.serving")
router = APIRouter(prefix="/v1", tags=["monitoring"], responses=ERRORS)


class Told(BaseModel):
    """One alert, as Alertmanager has it; what else it says is passed over."""

    model_config = ConfigDict(extra="ignore")

    status: str = Field(pattern="^(firing|resolved)$")
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: str = Field(default="", max_length=64)
    fingerprint: str = Field(default="", max_length=64)


class Message(BaseModel):
    """What Alertmanager posts."""

    model_config = ConfigDict(extra="ignore")

    alerts: list[Told] = Field(max_length=1000)


class Received(BaseModel):
    """What came of each alert."""

    outcomes: list[str]


@router.post("/alerts", openapi_extra=body_of(Message))
async def alerts(request: Request) -> Received:
    """Take alerts; some of them suspend."""
    key = admit(request, "alerts")
    fleet = fleet_of(request)
    message = await read_document(request, Message)
    outcomes = []
    for told in message.alerts:
        model = told.labels.get("model", "")
        outcome = "" if key.models is None or model in key.models else "passed over: this key may not speak of this model"
        outcome = outcome or await _act(fleet, told, model)
        outcomes.append(outcome)
        fleet.live.alert(
            Alert(
                time=fleet.live.now(),
                name=told.labels.get("alertname", "")[:200],
                status=told.status,
                model=model[:200],
                severity=told.labels.get("severity", "")[:40],
                summary=told.annotations.get("summary", "")[:500],
                outcome=outcome,
            )
        )
    return Received(outcomes=outcomes)


async def _act(fleet: Fleet, told: Told, model: str) -> str:
    name = told.labels.get("alertname", "")
    if fleet.suspender is None or name not in fleet.suspender.settings.alerts or told.status != "firing":
        return "noted"
    slot, digest = fleet.slots.get(model), told.labels.get("digest")
    lines = [] if slot is None else [(route, line) for route, line in slot.lines.items() if digest in (None, line.loaded.digest)]
    if slot is None or not lines:
        return "noted: no such version is served"
    route, line = next(((one, other) for one, other in lines if one == told.labels.get("route", one)), lines[0])
    alert = f"{name} {told.fingerprint} since {told.startsAt}"
    reason = _shown(f"{name}: {told.annotations.get('summary') or 'the alert is firing'}")[:500]
    outcome = await asyncio.to_thread(fleet.suspender.suspend, line, alert, reason)
    if outcome == "suspended":
        await asyncio.to_thread(slot.judge_again, route)
        if slot.lines.get(route) is line and not line.out:
            outcome = (
                "NOT SUSPENDED: the claim was written, and this server's own gate doesn't count it: is its key in trust.yaml?"
            )
    log.error("%s %s: %s (%s)", model, line.version, outcome, reason)
    if fleet.ledger is not None:
        details: dict[str, Any] = {"alert": alert[:500], "outcome": outcome}
        fleet.ledger.suspension(line.loaded.digest, model, reason, details)
    return outcome


def _shown(text: str) -> str:
    """One line of what can be printed: labels come from requests, and neither a log nor a record may be told what it holds."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
