"""Products over HTTP: query strings into contracts, replies passed on as they came."""

from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from pydantic import ValidationError

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.calls.client import Calls
from http_bridge.http.authentication import RequestTokens
from http_bridge.http.caching import fresh_response
from postroad.contracts.catalog import GetProduct, ListCategories, ListProducts, ProductPage
from postroad.contracts.errors import InvalidRequest, explain
from postroad.messaging.client import Reply

# A page with a product in it is longer than this; a shorter one may be that of an empty catalogue.
SHORTEST_PAGE_BYTES = 100


class Products:
    """The handlers of ``/products`` and what is below it."""

    def __init__(self, calls: Calls, tokens: RequestTokens, *, timeout_s: float) -> None:
        self._calls = calls
        self._tokens = tokens
        self._timeout_s = timeout_s

    async def list(self, request: HttpRequest) -> HttpResponse:
        """Answer ``{"data": [product...], "total", "skip", "limit"}``, 204 with no products."""
        user = self._tokens.require(request)
        contract = parse_listing(request.query)
        reply = await self._calls.call(
            contract, timeout_s=self._timeout_s, user=user, correlation_id=request.request_id
        )
        if len(reply.body) < SHORTEST_PAGE_BYTES and _is_empty_catalogue(contract, reply):
            return HttpResponse(HTTPStatus.NO_CONTENT, headers=[], timing=reply.timing)
        return fresh_response(request, reply, reply.body)

    async def get(self, request: HttpRequest, product_id: str) -> HttpResponse:
        """Answer ``{"data": product}``."""
        user = self._tokens.require(request)
        try:
            contract = GetProduct.model_validate({"product_id": product_id})
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        reply = await self._calls.call(
            contract, timeout_s=self._timeout_s, user=user, correlation_id=request.request_id
        )
        return fresh_response(request, reply, b'{"data":%b}' % reply.body)

    async def categories(self, request: HttpRequest) -> HttpResponse:
        """Answer ``{"data": [{"slug", "name"}...]}``."""
        user = self._tokens.require(request)
        reply = await self._calls.call(
            ListCategories(),
            timeout_s=self._timeout_s,
            user=user,
            correlation_id=request.request_id,
        )
        return fresh_response(request, reply, reply.body)


@lru_cache(maxsize=1024)
def parse_listing(query: bytes) -> ListProducts:
    """Read a query string; people ask for the same few pages again and again.

    Raises:
        InvalidRequest: a parameter is out of range.
    """
    try:
        return ListProducts.model_validate(
            dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        )
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def _is_empty_catalogue(contract: ListProducts, reply: Reply[ProductPage]) -> bool:
    unfiltered = contract.q is None and contract.category is None
    return unfiltered and reply.parse().total == 0
