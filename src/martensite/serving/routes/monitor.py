"""What the monitors know: a record for keys of the scope ``monitor``, and a page that draws it."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from martensite.serving.monitoring.snapshot import Snapshot, Traffic
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.errors import ERRORS
from martensite.serving.ui.files import HEADERS, page_files

router = APIRouter(tags=["monitoring"])


@router.get("/v1/monitor", response_model=Snapshot, responses=ERRORS)
async def monitor(request: Request) -> Response:
    """Traffic, decisions, drift, alerts, evidence and what was flagged, as they are now."""
    key, live = admit(request, "monitor"), fleet_of(request).live
    content = await asyncio.to_thread(lambda: _allowed(live.snapshot(), key.models).model_dump_json())
    return Response(content, 200, {"Cache-Control": "no-store"}, "application/json")


@router.get("/ui", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page; it holds nothing until the record behind it is asked for."""
    return await file(request, "")


@router.get("/ui/", include_in_schema=False)
async def elsewhere() -> Response:
    """Its names are relative to the path without the slash."""
    return RedirectResponse("../ui", 308)


@router.get("/ui/{name}", include_in_schema=False)
async def file(request: Request, name: str) -> Response:
    """A file of the page."""
    found = page_files(fleet_of(request).gatekeeper.settings.keys is not None).get(name)
    if found is None:
        raise Refusal(404, f"the page has no file {name[:60]!r}")
    return Response(found.content, 200, HEADERS, found.kind)


def _allowed(record: Snapshot, models: tuple[str, ...] | None) -> Snapshot:
    # A key for some models learns nothing of the others, not even how much they are asked.
    if models is None:
        return record
    shown = {
        "models": tuple(one for one in record.models if one.name in models),
        "alerts": tuple(one for one in record.alerts if one.model in models),
        "traffic": Traffic(),
    }
    return record.model_copy(update=shown)
