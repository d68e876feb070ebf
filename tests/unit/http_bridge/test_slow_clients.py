"""Clients that are slow, silent or too many, on real sockets, and those who are not beside them."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic

import pytest

from postroad.testing import eventually
from tests.support.http_server import (
    KEEP_ALIVE_S,
    LATE_S,
    LIMITS,
    TIMEOUT_S,
    Server,
    connected,
    serving,
)

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
GET_SOME, GET_MUCH = GET.replace(b"/", b"/some", 1), GET.replace(b"/", b"/much", 1)
POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(LIMITS) as server:
        yield server


async def is_served(server: Server) -> bool:
    async with connected(server) as peer:
        await peer.send(GET)
        return (await peer.answer()).startswith(b"HTTP/1.1 200")


async def test_who_never_asks_anything_is_let_go(server: Server) -> None:
    async with connected(server) as peer:
        began = monotonic()

        assert await peer.rest() == b""

    assert TIMEOUT_S * 0.9 < monotonic() - began < TIMEOUT_S + LATE_S


@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
async def test_headers_that_trickle_in_are_408_while_others_are_served(
    server: Server, first: bytes
) -> None:
    async with connected(server) as peer:
        if first:
            await peer.send(first)
            assert (await peer.answer()).startswith(b"HTTP/1.1 200")
        began = monotonic()
        await peer.send(b"GET / HTTP/1.1\r\nX-Slow: ")
        trickling = asyncio.create_task(peer.trickle(b"x", TIMEOUT_S / 10))

        assert await is_served(server)
        assert (await peer.rest()).startswith(b"HTTP/1.1 408 ")
        assert monotonic() - began < TIMEOUT_S + LATE_S
        await trickling


async def test_a_body_that_trickles_in_is_408_and_its_request_is_given_up(server: Server) -> None:
    async with connected(server) as peer:
        await peer.send(POST.replace(b"5", b"500"))
        trickling = asyncio.create_task(peer.trickle(b"x", TIMEOUT_S / 10))

        assert (await peer.rest()).startswith(b"HTTP/1.1 408 ")

        await trickling
    await eventually(lambda: server.app.gone == 1)


async def test_empty_lines_do_not_keep_a_connection(server: Server) -> None:
    async with connected(server) as peer:
        await peer.send(GET)
        await peer.answer()
        trickling = asyncio.create_task(peer.trickle(b"\r\n", TIMEOUT_S / 10))

        assert await peer.rest() == b""

        await trickling


@pytest.mark.parametrize(
    "asked",
    [GET_MUCH * 3, GET_SOME, GET_SOME.replace(b"Host", b"Connection: close\r\nHost")],
    ids=["more than we keep", "what is left when it goes idle", "what is left when it closes"],
)
async def test_who_does_not_read_the_answer_is_dropped(server: Server, asked: bytes) -> None:
    async with connected(server) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport too
        await peer.send(asked)
        await eventually(lambda: server.app.answering)

        await eventually(lambda: server.connections == 0, timeout_s=KEEP_ALIVE_S + 2 * LATE_S)

    assert await is_served(server)


async def test_who_does_not_read_the_answer_is_not_taken_for_idle() -> None:
    with serving(LIMITS, keep_alive_s=60) as server:
        async with connected(server) as peer:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport too
            await peer.send(GET_SOME)
            await eventually(lambda: server.app.answering)

            await eventually(lambda: server.connections == 0, timeout_s=TIMEOUT_S + LATE_S)


async def test_who_reads_the_answer_late_but_in_time_is_kept() -> None:
    with serving(replace(LIMITS, send_timeout_s=2), keep_alive_s=60) as server:
        async with connected(server) as peer:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport too
            await peer.send(GET_MUCH)
            await eventually(lambda: server.app.answering)
            await asyncio.sleep(1)
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]  # the same
            assert (await peer.answer()).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(2)

            await peer.send(GET)
            assert (await peer.answer()).startswith(b"HTTP/1.1 200")


async def test_who_waits_for_long_for_an_answer_is_not_taken_for_slow(server: Server) -> None:
    server.app.may_answer.clear()
    async with connected(server) as peer:
        await peer.send(POST + b"hello" + b"GET / HTT")
        await eventually(lambda: server.app.answering == 1)
        await asyncio.sleep(3 * TIMEOUT_S)
        server.app.may_answer.set()

        assert (await peer.answer()).endswith(b"hello")


async def test_a_whole_request_ends_the_wait_for_it(server: Server) -> None:
    async with connected(server) as peer:
        for _ in range(4):
            await peer.send(POST)
            await asyncio.sleep(TIMEOUT_S / 3)
            await peer.send(b"hello")

            assert (await peer.answer()).endswith(b"hello")


async def test_too_many_idle_connections_give_way_to_new_ones_the_oldest_first() -> None:
    with serving(replace(LIMITS, connections_max=10, receive_timeout_s=60)) as server:
        async with AsyncExitStack() as stack:
            asking = await stack.enter_async_context(connected(server))
            server.app.may_answer.clear()
            await asking.send(GET)
            await eventually(lambda: server.app.answering == 1)
            idle = [await stack.enter_async_context(connected(server)) for _ in range(15)]

            assert [await peer.rest() for peer in idle[:6]] == [b""] * 6
            await eventually(lambda: server.connections == 10)
            server.app.may_answer.set()
            assert (await asking.answer()).startswith(b"HTTP/1.1 200")
            await idle[-1].send(GET)
            assert (await idle[-1].answer()).startswith(b"HTTP/1.1 200")
            assert await is_served(server)


async def test_connections_that_are_kept_alive_give_way_too() -> None:
    with serving(replace(LIMITS, connections_max=2), keep_alive_s=60) as server:
        async with AsyncExitStack() as stack:
            kept = [await stack.enter_async_context(connected(server)) for _ in range(2)]
            for peer in kept:
                await peer.send(GET)
                assert (await peer.answer()).startswith(b"HTTP/1.1 200")

            assert await is_served(server)
            assert await kept[0].rest() == b""


async def test_when_every_connection_is_being_answered_a_new_one_is_dropped() -> None:
    with serving(replace(LIMITS, connections_max=2, receive_timeout_s=60)) as server:
        server.app.may_answer.clear()
        async with AsyncExitStack() as stack:
            busy = [await stack.enter_async_context(connected(server)) for _ in range(2)]
            for peer in busy:
                await peer.send(GET)
            await eventually(lambda: server.app.answering == 2)

            async with connected(server) as another:
                assert await another.rest() == b""

            server.app.may_answer.set()
            for peer in busy:
                assert (await peer.answer()).startswith(b"HTTP/1.1 200")


async def test_nothing_is_kept_of_connections_that_have_ended(server: Server) -> None:
    for _ in range(5):
        assert await is_served(server)

    await eventually(lambda: server.connections == 0)

    assert not server.protocol.idle
