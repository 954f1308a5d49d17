"""JSON documents that aren't inference: read within the server's limits, and checked."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import fleet_of

T = TypeVar("T", bound=BaseModel)


async def read_document(request: Request, kind: type[T], empty: bytes = b"") -> T:
    """The body of a request.

    Args:
        request: With the body.
        kind: What it is.
        empty: What no body at all stands for.

    Raises:
        Refusal: 400, no such document; as `Body.read`.
    """
    with fleet_of(request).bodies.one() as coming:
        body = await coming.read(request)
    request.state.whole = True
    try:
        return kind.model_validate_json(body or empty)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(one) for one in first["loc"])
        raise Refusal(400, f"the document is wrong{f' at {place}' if place else ''}", str(first["msg"])) from None


def body_of(kind: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of such a body."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
