"""Whether the bridge is alive, and whether it can answer."""

from http import HTTPStatus

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.routes.backend import Backend
from postroad.contracts.errors import Unavailable

OF_BRIDGE = b"of=bridge"


async def health(_: HttpRequest, __: Backend) -> HttpResponse:
    """Whether the process is alive."""
    return HttpResponse(HTTPStatus.OK, b'{"status":"ok"}')


async def readiness(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Whether every request would be answered now; ``?of=bridge``, whether this bridge could.

    A load balancer that took out all bridges because of a service would keep users from the others.
    """
    if not backend.client.is_connected:
        raise Unavailable("the message broker is away")
    is_of_all = request.query != OF_BRIDGE
    if is_of_all and (silent := backend.client.silent_services()):
        raise Unavailable(f"no worker listens for {', '.join(silent)}")
    if not backend.is_current():
        raise Unavailable("it is not known yet which sessions have ended")
    if is_of_all and (problems := await backend.probes.problems()):
        raise Unavailable("; ".join(problems))
    return HttpResponse(HTTPStatus.OK, b'{"status":"ready"}')
