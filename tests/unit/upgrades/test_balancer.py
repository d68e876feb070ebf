"""The load balancer: whom it asks, and when a bridge may stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from postroad.testing import eventually
from tests.upgrades.balancer import Balancer, Routes

URL = "http://127.0.0.1:1"


@asynccontextmanager
async def bridge(name: str, may_answer: asyncio.Event) -> AsyncIterator[int]:
    """Answer each request with a name, once it may be answered."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n")
        writer.write(name.encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_requests_go_to_the_bridges_in_turn_and_to_one_that_left_no_more() -> None:
    routes, now = Routes(), asyncio.Event()
    now.set()
    async with AsyncExitStack() as context:
        routes.ports += [await context.enter_async_context(bridge(name, now)) for name in "ab"]
        http = await context.enter_async_context(httpx.AsyncClient(transport=Balancer(routes)))

        both = {(await http.get(URL)).text for _ in range(2)}
        del routes.ports[0]
        left = {(await http.get(URL)).text for _ in range(2)}

    assert (both, left) == ({"a", "b"}, {"b"})


async def test_a_request_is_under_way_until_its_answer_was_read() -> None:
    routes, later = Routes(), asyncio.Event()
    async with bridge("a", later) as port, httpx.AsyncClient(transport=Balancer(routes)) as http:
        routes.ports.append(port)
        asking = asyncio.create_task(http.get(URL))
        await eventually(lambda: routes.under_way[port] == 1)

        later.set()
        await asking

    assert routes.under_way[port] == 0
