"""Every error of the protocol is an object with one key, ``error``."""

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from martensite.serving.protocol.documents import Error
from martensite.serving.refusal import Refusal

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


def refuse(refusal: Refusal) -> Response:
    """The answer to a request that is turned away."""
    headers = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after + 0.5)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="martensite"'
    if refusal.close:
        headers["Connection"] = "close"
    return Response(to_json({"error": str(refusal)}), refusal.status, headers, "application/json")
