"""Whether the bridge is alive, and whether it can answer."""

from http import HTTPStatus

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.routes.backend import Backend
from postroad.contracts.errors import Unavailable


async def health(_: HttpRequest, __: Backend) -> HttpResponse:
    """Whether the process is alive."""
    return HttpResponse(HTTPStatus.OK, b'{"status":"ok"}')


async def readiness(_: HttpRequest, backend: Backend) -> HttpResponse:
    """Whether a request would be answered now."""
    if not backend.client.is_connected:
        raise Unavailable("the message broker is away")
    if silent := backend.client.silent_services():
        raise Unavailable(f"no worker listens for {', '.join(silent)}")
    if not backend.is_current():
        raise Unavailable("it is not known yet which sessions have ended")
    return HttpResponse(HTTPStatus.OK, b'{"status":"ready"}')
