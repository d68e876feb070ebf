"""What goes on in the broker, as server-sent events, for who may see it."""

from collections.abc import AsyncGenerator
from time import time
from typing import Any

import orjson

from http_bridge.asgi.messages import NO_STORE, HttpRequest, HttpResponse, Stream
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.http.authentication import RequestTokens
from postroad.contracts.errors import NotAuthenticated, NotAuthorised

SCOPE = "operations:read"
RETRY_MS = 2000

# https://html.spec.whatwg.org/multipage/server-sent-events.html
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    NO_STORE,
    (b"x-accel-buffering", b"no"),  # nginx would keep the parts until there are many
]


class Live:
    """The handler of ``/live``."""

    def __init__(self, watch: BrokerMonitor, tokens: RequestTokens) -> None:
        self._watch = watch
        self._tokens = tokens

    async def stream(self, request: HttpRequest) -> HttpResponse | Stream:
        """Answer ``event: queues`` each second, and ``event: events`` when there are new ones."""
        token = self._tokens.require(request)
        if SCOPE not in token.scopes:
            raise NotAuthorised(f"this takes the scope {SCOPE}")
        self._watch.check_room()
        if request.method == "HEAD":
            return HttpResponse(200, headers=_HEADERS)
        return Stream(
            self._parts(request), request.receive, _HEADERS, ends_after_s=token.expires_at - time()
        )

    async def _parts(self, request: HttpRequest) -> AsyncGenerator[bytes, None]:
        """Give what is new, as it is by then: a slow reader misses what was in between."""
        last = 0
        with self._watch.listening():
            yield b"retry: %d\n\n" % RETRY_MS
            while self._is_welcome(request):
                if self._watch.sight is not None:
                    yield _part("queues", self._watch.sight)
                if happenings := self._watch.happenings(after=last):
                    last = happenings[-1].number
                    yield _part("events", happenings)
                await self._watch.changed()

    def _is_welcome(self, request: HttpRequest) -> bool:
        """Say whether the user is still signed in, and we are not about to end."""
        if self._watch.is_stopped:
            return False
        try:
            self._tokens.require(request)
        except NotAuthenticated:
            return False
        return True


def _part(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
