"""What `Server-Timing` says of an answer, by the clock of who asked."""

import asyncio
import os
import re
import signal
from time import perf_counter

import httpx
import pytest

from postroad.testing import eventually
from tests.e2e.system import System, until_ready
from tests.support.scraping import scrape

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SHAPE = re.compile(
    r"edge;dur=\d+\.\d\d, queue;dur=\d+\.\d\d, worker;dur=\d+\.\d\d, "
    r"(upstream;dur=\d+\.\d\d, )?reply;dur=\d+\.\d\d, total;dur=\d+\.\d\d"
)
DELAY_MS = 300
CLOCKS_MS = 5  # by which the two clocks of one machine may disagree over a second


def times_of(response: httpx.Response) -> dict[str, float]:
    """Read the header, in milliseconds."""
    header = response.headers["server-timing"]
    assert SHAPE.fullmatch(header), header
    parts = (part.partition(";dur=") for part in header.split(", "))
    return {name: float(ms) for name, _, ms in parts}


async def ask(user: httpx.AsyncClient, path: str) -> tuple[httpx.Response, float]:
    """Ask, and give how long it took, in milliseconds."""
    began = perf_counter()
    response = await user.get(path)
    return response, (perf_counter() - began) * 1000


async def test_the_parts_are_the_whole(user: httpx.AsyncClient) -> None:
    response, took_ms = await ask(user, "/products/1")

    times = times_of(response)
    parts_ms = sum(times[name] for name in ("edge", "queue", "worker", "reply"))
    assert parts_ms == pytest.approx(times["total"], abs=0.05)
    assert times["total"] <= took_ms


async def test_a_slow_upstream_is_seen_as_such(user: httpx.AsyncClient, system: System) -> None:
    await system.make_upstream(delay_ms=DELAY_MS)
    try:
        response, took_ms = await ask(user, "/products/2")
    finally:
        await system.make_upstream()

    times = times_of(response)
    assert DELAY_MS <= times["upstream"] <= times["worker"] <= times["total"] <= took_ms


async def test_a_worker_that_stands_still_for_a_while_is_a_wait_in_the_queue(
    user: httpx.AsyncClient, system: System
) -> None:
    (pid,) = system.supervisor.pids("catalog_worker")
    os.kill(pid, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(ask(user, "/products/3"))

        async def is_waiting() -> bool:
            (port,) = system.supervisor.metrics_ports("http_bridge")
            return (await scrape(port)).value("postroad_calls_in_flight") == 1

        await eventually(is_waiting)
        began = perf_counter()
        await eventually(lambda: (perf_counter() - began) * 1000 >= DELAY_MS)
    finally:
        os.kill(pid, signal.SIGCONT)
    response, took_ms = await asking
    await until_ready(system.url)

    times = times_of(response)
    assert DELAY_MS - CLOCKS_MS <= times["queue"] <= times["total"] <= took_ms


async def test_an_error_of_a_worker_has_its_times(user: httpx.AsyncClient) -> None:
    response = await user.get("/products/999999")

    assert response.status_code == 404
    assert times_of(response)


async def test_an_answer_that_a_client_has_already_has_its_times(user: httpx.AsyncClient) -> None:
    etag = (await user.get("/products/1")).headers["etag"]

    response = await user.get("/products/1", headers={"If-None-Match": etag})

    assert response.status_code == 304
    assert times_of(response)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/healthz", 200), ("/openapi.json", 200), ("/nowhere", 404), ("/products", 401)],
)
async def test_what_the_bridge_answers_by_itself_has_no_times(
    visitor: httpx.AsyncClient, path: str, status: int
) -> None:
    response = await visitor.get(path)

    assert response.status_code == status
    assert "server-timing" not in response.headers


async def test_a_pipelined_request_does_not_inherit_the_times_of_the_one_before(
    system: System, token: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
    writer.write(
        b"GET /products/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % token.encode()
    )
    answers = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.count(b"server-timing: ") == 1
