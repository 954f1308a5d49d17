"""Metrics for Prometheus, on the server's own port."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from martensite.serving.monitoring.collector import registry_of
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.errors import ERRORS

router = APIRouter(tags=["monitoring"], responses=ERRORS)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """All metrics, for keys of the scope ``monitor``; elsewhere if they have a port of their own."""
    if (models := admit(request, "monitor").models) is not None:
        raise Refusal(403, f"this key is for {', '.join(models)}", "the metrics are of all models", "use a key for all of them")
    fleet = fleet_of(request)
    if fleet.config.monitoring.metrics.port is not None:
        raise Refusal(404, "the metrics have a port of their own", "", "see monitoring.metrics.port in serve.yaml")
    return Response(generate_latest(registry_of(fleet.live)), 200, {"Cache-Control": "no-store"}, CONTENT_TYPE_LATEST)
