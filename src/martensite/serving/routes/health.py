"""Is the server there, and may it be asked? For probes, so without a key."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from martensite.serving.protocol.documents import Live, Ready
from martensite.serving.routes.context import fleet_of

router = APIRouter(prefix="/v2/health", tags=["health"])


@router.get("/live", response_model=Live)
async def live() -> Live:
    """The process answers."""
    return Live(live=True)


@router.get("/ready", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready, and why."}})
async def ready(request: Request) -> JSONResponse:
    """Every model is verified and serves; else 503 and the reasons."""
    reasons = fleet_of(request).reasons
    document = Ready(ready=not reasons, reasons=reasons)
    return JSONResponse(document.model_dump(), 503 if reasons else 200)
