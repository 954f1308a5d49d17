"""The application: routes, errors, and the watch over the files while it runs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from martensite import __version__
from martensite.serving.fleet import Fleet
from martensite.serving.monitoring.port import MetricsPort
from martensite.serving.protocol.documents import InferRequest
from martensite.serving.refusal import Refusal
from martensite.serving.routes import alerts, feedback, health, infer, metadata, metrics, monitor, page, repository
from martensite.serving.routes.direct import Direct
from martensite.serving.routes.errors import explained, refuse
from martensite.serving.traces import Traced

log = logging.getLogger("martensite.serving")


class Application(FastAPI):
    """FastAPI, whose description also holds what is read without it."""

    def openapi(self) -> dict[str, Any]:
        """Made when first asked for: it takes a while."""
        described = super().openapi()
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        if "InferRequest" not in schemas:
            document = InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= {**document.pop("$defs", {}), "InferRequest": document}
        return described


def create_app(fleet: Fleet) -> FastAPI:
    """The ASGI application of a fleet; it ends the fleet when it ends.

    Args:
        fleet: Loaded already, or not ready.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch, lag = asyncio.create_task(fleet.watch()), asyncio.create_task(fleet.lag.watch())
        settings = fleet.config.monitoring.metrics
        port = MetricsPort(settings, fleet.live) if settings.port is not None else None
        if port is not None:
            log.info("metrics: http://%s:%d/metrics", *port.address)
        try:
            yield
        finally:
            fleet.stopping = True
            for one in (watch, lag):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await one
            await asyncio.to_thread(fleet.close)
            if port is not None:
                await asyncio.to_thread(port.close)

    app = Application(
        title="Martensite",
        version=__version__,
        description="Open Inference Protocol v2: models that are served because their evidence verifies.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.fleet = fleet
    app.add_middleware(Direct)
    if fleet.tracer is not None:
        app.add_middleware(Traced, tracer=fleet.tracer)
    for group in (health, metadata, infer, feedback, alerts, repository, metrics, monitor, page):
        app.include_router(group.router)

    @app.exception_handler(Refusal)
    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return explained(request, error)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return refuse(Refusal(error.status_code, f"{request.method} {request.url.path[:80]}: {error.detail}"))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return refuse(Refusal(400, f"{error.errors()[0]['msg']}"))

    return app
