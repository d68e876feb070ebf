"""Five times what the system can do: it goes on doing that, in time, and refuses the rest."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from benchmarks.overload.asking import Crowd, Outcome, Summary, answered_per_s, get, post
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, running_system
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 3.0
UPSTREAM_MS, CONNECTIONS = 100, 4  # forty products a second and worker
AT_A_TIME = 2 * CONNECTIONS
LOAD_S = 8
SETTLED = range(1, LOAD_S)
MODEST, MODEST_PER_S = ("anne", "bert", "cleo", "dora"), 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(
        tmp_path_factory.mktemp("overload"),
        BRIDGE_TIMEOUT_S=str(DEADLINE_S),
        CATALOG_UPSTREAM_CONNECTIONS=str(CONNECTIONS),
    ) as system:
        await system.make_upstream(delay_ms=UPSTREAM_MS)
        system.add_users({name: f"{name}'s password" for name in MODEST})
        yield system


async def products_for(system: System, username: str, password: str) -> Crowd:
    """Sign in; give what asks for products, none of them twice."""
    async with httpx.AsyncClient(base_url=system.url, timeout=10) as http:
        response = await http.post("/auth", json={"username": username, "password": password})
    token = response.json()["access_token"]
    return Crowd(system.url, lambda number: get(f"/products?limit=1&skip={number}", token))


async def test_five_times_the_load_is_answered_at_the_peak_rate_in_time_or_refused_at_once(
    slow_system: System,
) -> None:
    products = await products_for(slow_system, **CREDENTIALS)
    peak_per_s = await products.keep_asking(AT_A_TIME, for_s=4)

    outcomes = await products.ask_at(5 * peak_per_s, for_s=LOAD_S)

    summary = Summary.of(outcomes)
    assert answered_per_s(outcomes, SETTLED) >= 0.8 * peak_per_s
    assert summary.p99_ms < DEADLINE_S * 1000
    assert summary.refused > 0.6 * len(outcomes)
    assert summary.refused_p50_ms < 50
    assert statuses_and_hints(outcomes) == {(200, ""), (503, "2")}


async def test_who_asks_for_little_gets_it_whatever_another_asks_for(slow_system: System) -> None:
    greedy = await products_for(slow_system, **CREDENTIALS)
    modest = [await products_for(slow_system, name, f"{name}'s password") for name in MODEST]
    peak_per_s = await greedy.keep_asking(AT_A_TIME, for_s=2)
    flood = asyncio.create_task(greedy.ask_at(5 * peak_per_s, for_s=LOAD_S + 2))
    await eventually(lambda: is_full(greedy))

    got = await asyncio.gather(*(each.ask_at(MODEST_PER_S, for_s=LOAD_S) for each in modest))

    good = [sum(each.status == 200 for each in outcomes) for outcomes in got]
    assert min(good) >= 0.95 * MODEST_PER_S * LOAD_S
    refused = Summary.of(await flood).refused
    assert refused > 0.5 * 5 * peak_per_s * LOAD_S


async def test_signing_in_goes_on_while_products_are_refused(slow_system: System) -> None:
    products = await products_for(slow_system, **CREDENTIALS)
    peak_per_s = await products.keep_asking(AT_A_TIME, for_s=2)
    flood = asyncio.create_task(products.ask_at(5 * peak_per_s, for_s=LOAD_S))
    body = json.dumps(CREDENTIALS).encode()
    await eventually(lambda: is_full(products))

    signed_in = await Crowd(slow_system.url, lambda _: post("/auth", body)).ask_at(5, for_s=5)

    assert {each.status for each in signed_in} == {200}
    assert Summary.of(signed_in).p99_ms < Summary.of(await flood).p50_ms


async def is_full(crowd: Crowd) -> bool:
    return (await crowd.ask(0)).status == 503


def statuses_and_hints(outcomes: list[Outcome]) -> set[tuple[int, str]]:
    return {(each.status, each.retry_after) for each in outcomes}
