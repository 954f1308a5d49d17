"""Every error of the protocol is an object with one key, ``error``."""

import logging
from typing import Any

from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from martensite.serving.observer import Reply
from martensite.serving.protocol.documents import Error
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import fleet_of

log = logging.getLogger("martensite.serving")

TEXTS = {
    400: "The request is malformed.",
    401: "No API key that is known.",
    403: "The key may not do this.",
    404: "No such model or version.",
    408: "The body came too slowly.",
    413: "More than is taken at once.",
    415: "The body is compressed.",
    429: "Too much at present: ask again after Retry-After seconds.",
    503: "The model is not served at present.",
}
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": Error, "description": text} for status, text in TEXTS.items()}


def explained(request: Request, error: Exception) -> Response:
    """The answer to a request that ended with an error, of which the observers are told."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # nobody reads it
    if not isinstance(error, Refusal):
        log.error("%s %r: %s: %s", request.method, request.url.path[:200], type(error).__name__, error)
        error = Refusal(500, "an error of the server", "it is in the server's log")
    state, model = request.state, request.path_params.get("model", "")
    key, id = getattr(state, "key", ""), getattr(state, "id", "")
    near = getattr(state, "near", 0)  # a search that is refused is told of like one that is answered
    fleet_of(request).observer.reply(Reply(model, "", error.status, error.value, key, id, 0, 0.0, near))
    return refuse(error, whole=request.method == "GET" or getattr(state, "whole", False))


def refuse(refusal: Refusal, whole: bool = True) -> Response:
    """The answer to a request that is turned away.

    Args:
        refusal: Why.
        whole: The request was read to its end; else the connection can't be used again.
    """
    headers = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after + 0.5)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="martensite"'
    if not whole:  # what comes yet is nobody's request
        headers["Connection"] = "close"
    return Response(to_json({"error": str(refusal)}), refusal.status, headers, "application/json")
