"""The short way to inference: the same handler, without a framework's routing and dependencies in between.

What FastAPI does for a request takes longer than a small model's answer. Its routes of the same paths stay: they are what the
description is made of, and what any other method finds there.
"""

from typing import Any

from starlette.requests import Request

from martensite.serving.routes.errors import explained
from martensite.serving.routes.infer import answer


class Direct:
    """ASGI: answers inference requests, and hands on all others.

    Args:
        app: What answers the others.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        params = _asked(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if params is None:
            await self._app(scope, receive, send)
            return
        scope["path_params"] = params
        request = Request(scope, receive)
        try:
            response = await answer(request, params["model"], params.get("version"))
        except Exception as error:
            response = explained(request, error)
        await response(scope, receive, send)


def _asked(scope: Any) -> dict[str, str] | None:
    match scope["path"].split("/"):
        case ["", "v2", "models", model, "infer"] if model:
            return {"model": model}
        case ["", "v2", "models", model, "versions", version, "infer"] if model and version:
            return {"model": model, "version": version}
    return None
