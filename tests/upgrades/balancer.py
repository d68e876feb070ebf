"""A load balancer before the bridges, as far as those who use them see it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx


class Routes:
    """The ports of the bridges that get requests, in turn."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.under_way: Counter[int] = Counter()
        self._turns = count()

    @contextmanager
    def chosen(self) -> Iterator[int]:
        """Choose a bridge for one request."""
        port = self.ports[next(self._turns) % len(self.ports)]
        self.under_way[port] += 1
        try:
            yield port
        finally:
            self.under_way[port] -= 1


class Balancer(httpx.AsyncBaseTransport):
    """Sends each request to one of the bridges; the answer is read whole before it is passed on."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._transport = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with self._routes.chosen() as port:
            request.url = request.url.copy_with(port=port)
            answer = await self._transport.handle_async_request(request)
            try:
                body = b"".join([part async for part in answer.aiter_raw()])
            finally:
                await answer.aclose()
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body)
        )

    async def aclose(self) -> None:
        await self._transport.aclose()
