"""What every route needs: the fleet behind the application, and the door."""

import secrets

from starlette.requests import Request

from martensite.serving.access import ApiKey, Scope
from martensite.serving.fleet import Fleet


def fleet_of(request: Request) -> Fleet:
    """The models of this server."""
    found: Fleet = request.app.state.fleet
    return found


def admit(request: Request, scope: Scope, model: str | None = None) -> ApiKey:
    """The key of a request, noted for the record; raises as `Gatekeeper.admit`."""
    key = fleet_of(request).gatekeeper.admit(request.headers, scope, model)
    request.state.key = key.name
    return key


def new_id() -> str:
    """An id for a request that has none; no client can guess another's, for which labels may come."""
    return secrets.token_hex(12)
