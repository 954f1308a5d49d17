"""Inference: read, look, compute together with others, withhold, answer."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from martensite.serving.access import ApiKey
from martensite.serving.body import Body
from martensite.serving.fleet import Fleet
from martensite.serving.line import Line
from martensite.serving.observer import Reply
from martensite.serving.outcome import Outcome
from martensite.serving.protocol.documents import InferResponse
from martensite.serving.protocol.request import HEADER_LENGTH, Query, read_query
from martensite.serving.protocol.response import write_answer
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of, new_id
from martensite.serving.routes.errors import ERRORS
from martensite.serving.slot import Slot

LARGE = 2**18  # bytes
router = APIRouter(prefix="/v2/models", tags=["inference"], responses=ERRORS)
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/{model}/infer", response_model=InferResponse, openapi_extra=BODY)
async def infer(request: Request, model: str) -> Response:
    """Ask a model; a canary may answer."""
    return await answer(request, model, None)


@router.post("/{model}/versions/{version}/infer", response_model=InferResponse, openapi_extra=BODY)
async def infer_version(request: Request, model: str, version: str) -> Response:
    """Ask one version of a model."""
    return await answer(request, model, version)


async def answer(request: Request, model: str, version: str | None) -> Response:
    """The answer of a model to an inference request.

    Raises:
        Refusal: it isn't answered, with the status that says why.
        ClientDisconnect: the client went away before it was whole.
    """
    fleet = fleet_of(request)
    key = admit(request, "infer", model)
    slot = fleet.slot(model)
    with fleet.bodies.one() as body:
        return await _answer(request, fleet, slot, key, version, body)


async def _answer(request: Request, fleet: Fleet, slot: Slot, key: ApiKey, version: str | None, coming: Body) -> Response:
    began, model = time.perf_counter(), slot.name
    body = await coming.read(request)
    request.state.whole = True
    fleet.lag.admit(slot.ahead, slot.config.batching.latency)  # reading it may be what takes the time
    line: Line | None = None
    try:
        try:
            query = await _read(fleet, body, request.headers.get(HEADER_LENGTH))
        except Refusal:
            slot.pick(version)  # that the model isn't served at all is told first
            raise
        id = request.state.id = query.id or new_id()
        line = slot.pick(version)
        line.has_room(len(query.x))  # before anything is done that costs more for more samples
        x = line.accept(query, slot.config.outside)
        day = fleet.gatekeeper.limits.take(key, len(x))
        near = request.state.near = await slot.watch(line, key.name, x)
        slot.permit(near)
        try:
            outcome = await slot.answer(line, query, x, id, key.name)
        except Refusal:  # for load, or since the version went away: no fault of the client's
            fleet.gatekeeper.limits.give_back(key, len(x), day)
            raise
        values = slot.config.output.values(outcome, line.detects)
        said, digits = _parameters(slot, line, outcome, near), slot.config.output.digits
        content, head = write_answer(query, model, line.version, id, values, said, digits)
    except Refusal as refusal:
        if fleet.ledger is not None:
            digest = line.loaded.digest if line is not None else ""
            await fleet.ledger.request(body, digest, key.name, "refused", {"name": model, "status": refusal.status})
        raise
    except Exception as error:
        if fleet.ledger is not None:  # what makes a model stumble is what an investigator looks for
            details = {"name": model, "status": 500, "error": type(error).__name__}
            await fleet.ledger.request(body, line.loaded.digest if line is not None else "", key.name, "failed", details)
        raise
    if fleet.ledger is not None:
        details = {"version": line.version, "samples": len(x), "decision": outcome.gravest}
        await fleet.ledger.request(body, line.loaded.digest, key.name, "done", details)
    fleet.observer.reply(
        Reply(
            model=model,
            version=line.version,
            status=200,
            reason="",
            key=key.name,
            id=id,
            samples=len(x),
            seconds=time.perf_counter() - began,
            near=near,
            decision=outcome.gravest,
            digest=line.loaded.digest,
            labels=[int(one) for one in values["label"]],
            routed=outcome.routed,
        )
    )
    headers = {} if head is None else {"Inference-Header-Content-Length": str(head)}
    return Response(content, 200, headers, "application/json" if head is None else "application/octet-stream")


async def _read(fleet: Fleet, body: bytes, header: str | None) -> Query:
    """The request in a body; a large one is read aside, so that small ones don't wait for it."""
    if len(body) < LARGE:
        return read_query(body, header, fleet.config.limits.text)
    async with fleet.bodies.parsing:
        return await asyncio.to_thread(read_query, body, header, fleet.config.limits.text)


def _parameters(slot: Slot, line: Line, outcome: Outcome, near: int) -> dict[str, Any]:
    """Of the answer: the gravest decision, the least p-value with its score, and whether the queries look like an attack."""
    parameters: dict[str, Any] = {"decision": outcome.gravest}
    if line.detects and slot.config.output.detection:
        worst = int(outcome.p_value.argmin())
        parameters |= {"score": float(outcome.score[worst]), "p_value": float(outcome.p_value[worst])}
    if slot.suspicious(near):
        parameters["queries"] = "suspicious"
    return parameters
