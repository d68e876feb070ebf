"""The bridge as an ASGI application: starts, cancelled requests, what is logged and counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from structlog.testing import capture_logs

from http_bridge.app import Bridge
from http_bridge.asgi.messages import HttpRequest, HttpResponse, Scope
from http_bridge.routes.backend import Backend, HandlerRoute
from postroad.contracts.errors import InvalidRequest
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.testing import eventually
from postroad.testing.keys import token_text
from tests.support.bridges import ROUTES, ask, make_bridge, make_test_backend
from tests.support.brokers import MemoryUnderTest
from tests.support.scraping import Scrape

IN_FLIGHT = "postroad_http_requests_in_flight"


@pytest.fixture
def bridge(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> Bridge:
    return make_bridge(memory_broker.as_user("bridge"), keys["bridge"])


def test_what_never_became_a_request_is_a_problem_and_counted(bridge: Bridge) -> None:
    answer = bridge.refuse(InvalidRequest("no HTTP"))

    scraped = Scrape.of(bridge.metrics())
    problem, headers = orjson.loads(answer.body), dict(answer.headers)
    assert (answer.status, problem["code"]) == (400, "invalid_request")
    assert problem["detail"] == problem["error"] == "no HTTP"
    assert headers[b"x-request-id"] == problem["request_id"].encode()
    labels = {"route": "other", "method": "other", "status": "400"}
    assert scraped.value("postroad_http_requests_total", **labels) == 1


@pytest.mark.parametrize(("method", "code"), [("GET", "unavailable"), ("POST", "outcome_unknown")])
async def test_a_request_that_outlives_the_server_is_a_problem(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], method: str, code: str
) -> None:
    async def never(_: HttpRequest, __: Backend) -> HttpResponse:
        return await asyncio.Future()

    routes = (HandlerRoute(method, "/never", never),)
    bridge = make_bridge(memory_broker.as_user("bridge"), keys["bridge"], routes=routes)
    asked = asyncio.create_task(ask(bridge, method, "/never"))
    await eventually(lambda: Scrape.of(bridge.metrics()).value(IN_FLIGHT) == 1)

    asked.cancel()  # as uvicorn does when it has waited for long enough
    answer = await asked

    assert (answer.status, answer.json()["code"]) == (503, code)
    assert Scrape.of(bridge.metrics()).value(IN_FLIGHT) == 0


async def test_a_request_that_waits_for_what_was_cancelled_is_a_bug(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    async def confused(_: HttpRequest, __: Backend) -> HttpResponse:
        future: asyncio.Future[HttpResponse] = asyncio.Future()
        future.cancel()
        return await future

    routes = (HandlerRoute("GET", "/confused", confused),)
    bridge = make_bridge(memory_broker.as_user("bridge"), keys["bridge"], routes=routes)

    answer = await ask(bridge, "GET", "/confused")

    assert (answer.status, answer.json()["code"]) == (500, "internal")


async def test_a_start_that_fails_is_one_sentence(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise SystemExit("cannot start: METRICS_PORT: Address already in use")
        yield

    backend = make_test_backend(memory_broker.as_user("bridge"), keys["bridge"])
    sent: list[Scope] = []

    async def receive() -> Scope:
        return {"type": "lifespan.startup"}

    async def send(message: Scope) -> None:
        sent.append(message)

    await Bridge(ROUTES, backend, lifespan=lifespan)({"type": "lifespan"}, receive, send)

    said = "cannot start: METRICS_PORT: Address already in use"
    assert sent == [{"type": "lifespan.startup.failed", "message": said}]


async def test_a_refusal_is_logged_with_its_reason(
    bridge: Bridge, identities: dict[str, Identity]
) -> None:
    token = token_text(identities["auth"], scope="catalog:read").encode()
    forged = token_text(identities["catalog"]).encode()

    with capture_logs() as logs:
        for text in (token, forged):
            await ask(bridge, "GET", "/live", headers=[(b"authorization", b"Bearer " + text)])
        headers = [(b"cookie", b"refresh_token=x"), (b"origin", b"https://evil.example")]
        await ask(bridge, "POST", "/auth/logout", headers=headers)

    seen = [(line["status"], line["outcome"]) for line in logs if line["event"] == "http"]
    assert seen == [(403, "not_authorised"), (401, "not_authenticated"), (403, "cross_site")]


async def test_of_a_long_path_a_log_has_its_beginning(bridge: Bridge) -> None:
    with capture_logs() as logs:
        await ask(bridge, "GET", "/" + "x" * 5000)

    assert [line["path"] for line in logs if line["event"] == "http"] == ["/" + "x" * 199]
