"""Loading anew on request: the model repository extension, for keys of the scope admin."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from martensite.core.errors import MartensiteError
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.errors import ERRORS

router = APIRouter(prefix="/v2/repository/models", tags=["repository"], responses=ERRORS)


@router.post(
    "/{model}/load", status_code=200, response_class=Response, responses={409: ERRORS[503] | {"description": "Refused."}}
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
