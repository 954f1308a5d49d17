"""The model repository extension, for keys of the scope admin: what there is, and loading it anew on request."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from martensite.core.errors import MartensiteError
from martensite.serving.protocol.documents import Indexed, IndexRequest
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.document import body_of, read_document
from martensite.serving.routes.errors import ERRORS
from martensite.serving.slot import Slot

router = APIRouter(prefix="/v2/repository", tags=["repository"], responses=ERRORS)


@router.post(
    "/models/{model}/load",
    status_code=200,
    response_class=Response,
    responses={409: ERRORS[503] | {"description": "Refused."}},
)
async def load(request: Request, model: str) -> Response:
    """Load a model's bundles anew; 409 where one is refused, and the version before goes on serving."""
    admit(request, "admin", model)
    fleet = fleet_of(request)
    fleet.slot(model)
    try:
        await fleet.reload(model)
    except Refusal:
        raise
    except MartensiteError as error:
        raise Refusal(409, error.value, error.rule, error.remedy) from None
    return Response("{}", 200, media_type="application/json")


@router.post("/index", openapi_extra=body_of(IndexRequest, required=False))
async def index(request: Request) -> list[Indexed]:
    """Every version of the models that the key may ask, with its state, and why it isn't ready."""
    key, fleet = admit(request, "admin"), fleet_of(request)
    asked = await read_document(request, IndexRequest, empty=b"{}")
    slots = [slot for name, slot in fleet.slots.items() if key.models is None or name in key.models]
    found = [one for slot in slots for one in _indexed(slot, fleet.reasons.get(slot.name, ""))]
    return [one for one in found if one.state == "READY" or not asked.ready]


def _indexed(slot: Slot, reason: str) -> list[Indexed]:
    lines = {line.version: line for route, line in slot.lines.items() if route != "shadow"}  # which nobody can ask
    reasons = {version: reason or line.idle for version, line in lines.items()} or {"": reason}
    return [
        Indexed(name=slot.name, version=version, state="UNAVAILABLE" if why else "READY", reason=why)
        for version, why in reasons.items()
    ]
