"""What the broker is doing, as server-sent events, for users with ``operations:read``."""

from collections.abc import AsyncGenerator
from time import time

import orjson

from http_bridge.asgi.messages import NO_STORE, HttpRequest, HttpResponse
from http_bridge.asgi.stream import Stream
from http_bridge.routes.backend import Backend
from postroad.contracts.errors import NotAuthenticated, NotAuthorised, Unavailable

SCOPE = "operations:read"
RETRY_MS = 2000

# https://html.spec.whatwg.org/multipage/server-sent-events.html
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    NO_STORE,
    (b"x-accel-buffering", b"no"),  # nginx would keep the parts until there are many
]


async def live(request: HttpRequest, backend: Backend) -> HttpResponse | Stream:
    """Queues and events as they come, as server-sent events; for `operations:read`.

    ``event: queues`` comes each second, and ``event: events`` when there are new ones.
    """
    token = backend.tokens.require(request)
    if SCOPE not in token.scopes:
        raise NotAuthorised(f"this takes the scope {SCOPE}")
    backend.monitor.check_room(token.user_id)
    if request.method == "HEAD":
        return HttpResponse(200, headers=_HEADERS)
    parts = _parts(request, backend, token.user_id)
    await anext(parts)  # takes the place: who asks in the same moment finds it taken
    return Stream(parts, request.receive, _HEADERS, ends_after_s=token.expires_at - time())


async def _parts(
    request: HttpRequest, backend: Backend, user_id: int
) -> AsyncGenerator[bytes, None]:
    """Yield what is new, as it is by then: a slow reader misses what was in between.

    The first part is empty.

    Raises:
        Overloaded: there is no room, of this user or at all.
    """
    last, monitor = 0, backend.monitor
    with monitor.listening(user_id):
        yield b""
        yield b"retry: %d\n\n" % RETRY_MS
        while not monitor.is_stopped and _is_signed_in(request, backend):
            if monitor.sight is not None:
                yield _part("queues", monitor.sight)
            if happenings := monitor.happenings(after=last):
                last = happenings[-1].number
                yield _part("events", happenings)
            await monitor.changed()


def _is_signed_in(request: HttpRequest, backend: Backend) -> bool:
    try:
        backend.tokens.require(request)
    except (NotAuthenticated, Unavailable):
        return False
    return True


def _part(name: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
