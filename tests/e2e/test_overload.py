"""Five times what the system can do: it goes on doing that, in time, and refuses the rest."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count

import httpx
import pytest
import pytest_asyncio

from benchmarks.overload.asking import Crowd, Outcome, Summary, answered_per_s, get
from ops.local.ports import LOOPBACK
from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 3.0
UPSTREAM_MS, AT_ONCE = 100, 4  # forty products a second and worker
AT_A_TIME = 2 * AT_ONCE
LOAD_S = 8
CONNECTIONS_MAX = 500
SETTLED = range(1, LOAD_S)
places = count()
MODEST, MODEST_PER_S = ("anne", "bert", "cleo", "dora"), 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(
        tmp_path_factory.mktemp("overload"),
        BRIDGE_TIMEOUT_S=str(DEADLINE_S),
        BRIDGE_CONNECTIONS_MAX=str(CONNECTIONS_MAX),
        CATALOG_UPSTREAM_CONNECTIONS=str(AT_ONCE),
    ) as system:
        await system.make_upstream(delay_ms=UPSTREAM_MS)
        system.add_users({name: f"{name}'s password" for name in MODEST})
        yield system


async def sign_in(system: System, username: str, password: str) -> str:
    async with httpx.AsyncClient(base_url=system.url, timeout=10) as http:
        response = await http.post("/auth", json={"username": username, "password": password})
    return str(response.json()["access_token"])


def products(system: System, token: str) -> Crowd:
    """Give what asks for products, none of them twice: the second time is from the cache."""
    return Crowd(system.url, lambda _: get(f"/products?limit=1&skip={next(places)}", token))


async def test_five_times_the_load_is_answered_at_peak_rate_or_refused_at_once(
    slow_system: System,
) -> None:
    crowd = products(slow_system, await sign_in(slow_system, **CREDENTIALS))
    peak_per_s = await crowd.keep_asking(AT_A_TIME, for_s=4)

    outcomes = await crowd.ask_at(5 * peak_per_s, for_s=LOAD_S)

    summary = Summary.of(outcomes)
    assert answered_per_s(outcomes, SETTLED) >= 0.8 * peak_per_s
    assert summary.p99_ms < DEADLINE_S * 1000
    assert summary.refused > 0.6 * len(outcomes)
    assert summary.refused_p50_ms < 50
    assert statuses_and_hints(outcomes) == {(200, ""), (503, "2")}


async def test_who_asks_for_little_gets_it_whatever_another_asks_for(slow_system: System) -> None:
    greedy = products(slow_system, await sign_in(slow_system, **CREDENTIALS))
    modest = [
        products(slow_system, await sign_in(slow_system, name, f"{name}'s password"))
        for name in MODEST
    ]
    peak_per_s = await greedy.keep_asking(AT_A_TIME, for_s=2)
    flood = asyncio.create_task(greedy.ask_at(5 * peak_per_s, for_s=LOAD_S + 6))
    await eventually(lambda: is_full(greedy), timeout_s=10)

    got = await asyncio.gather(*(each.ask_at(MODEST_PER_S, for_s=LOAD_S) for each in modest))

    good = [sum(each.status == 200 for each in outcomes) for outcomes in got]
    assert min(good) >= 0.95 * MODEST_PER_S * LOAD_S
    refused = Summary.of(await flood).refused
    assert refused > 0.5 * 5 * peak_per_s * LOAD_S


async def test_overload_of_one_service_refuses_no_request_for_another(
    slow_system: System,
) -> None:
    token = await sign_in(slow_system, **CREDENTIALS)
    greedy = products(slow_system, token)
    own_user = Crowd(slow_system.url, lambda _: get("/auth/me", token))
    peak_per_s = await greedy.keep_asking(AT_A_TIME, for_s=2)
    flood = asyncio.create_task(greedy.ask_at(5 * peak_per_s, for_s=LOAD_S))
    await eventually(lambda: is_full(greedy), timeout_s=10)

    known = await own_user.ask_at(20, for_s=4)

    assert {each.status for each in known} == {200}
    assert Summary.of(known).p99_ms < Summary.of(await flood).p50_ms


async def test_a_thousand_idle_connections_keep_nobody_out(slow_system: System) -> None:
    crowd = products(slow_system, await sign_in(slow_system, **CREDENTIALS))
    with ExitStack() as idle:
        for _ in range(2 * CONNECTIONS_MAX):
            idle.enter_context(socket.create_connection((LOOPBACK, slow_system.port)))

        answers = [await crowd.ask(number) for number in range(5)]

    assert {answer.status for answer in answers} == {200}


async def is_full(crowd: Crowd) -> bool:
    """Tell whether one of several is refused before any is answered."""
    asked = [asyncio.create_task(crowd.ask(0)) for _ in range(2 * AT_A_TIME)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    is_refused = any(each.result().status == 503 for each in done)
    await asyncio.gather(*asked)
    return is_refused


def statuses_and_hints(outcomes: list[Outcome]) -> set[tuple[int, str]]:
    return {(each.status, each.retry_after) for each in outcomes}
