"""Renewing the stored catalogue over HTTP: start a sync, and see how far it is."""

from http import HTTPStatus

from pydantic import ValidationError

from http_bridge.asgi.messages import JSON, PRIVATE_NO_STORE, HttpRequest, HttpResponse
from http_bridge.calls.client import Calls
from http_bridge.http.authentication import RequestTokens
from http_bridge.routes.sessions import check_same_site
from postroad.contracts.catalog import GetSync, StartSync, Sync
from postroad.contracts.errors import InvalidRequest, explain


class Syncs:
    """The handlers of ``/products/sync`` and what is below it."""

    def __init__(self, calls: Calls, tokens: RequestTokens, *, timeout_s: float) -> None:
        self._calls = calls
        self._tokens = tokens
        self._timeout_s = timeout_s

    async def start(self, request: HttpRequest) -> HttpResponse:
        """Answer 202 with ``{"data": sync}`` and where to ask on; its body is not looked at."""
        if b"authorization" not in request.headers:
            check_same_site(request)
        reply = await self._calls.call(
            StartSync(),
            timeout_s=self._timeout_s,
            user=self._tokens.require(request),
            correlation_id=request.request_id,
        )
        sync = reply.parse()
        location = (b"location", f"/products/sync/{sync.sync_id}".encode())
        headers = [JSON, PRIVATE_NO_STORE, location]
        return HttpResponse(HTTPStatus.ACCEPTED, _body(sync), headers, reply.timing)

    async def get(self, request: HttpRequest, sync_id: str) -> HttpResponse:
        """Answer ``{"data": sync}``."""
        user = self._tokens.require(request)
        try:
            contract = GetSync(sync_id=sync_id)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        reply = await self._calls.call(
            contract, timeout_s=self._timeout_s, user=user, correlation_id=request.request_id
        )
        return HttpResponse(HTTPStatus.OK, _body(reply.parse()), timing=reply.timing)


def _body(sync: Sync) -> bytes:
    return b'{"data":%b}' % sync.to_json()
