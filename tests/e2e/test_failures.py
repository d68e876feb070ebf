"""What a client sees when a part is away, and that it comes back by itself."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from time import monotonic

import httpx
import pytest

from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import TIMEOUT_S, System, until_ready
from tests.e2e.test_http import assert_problem
from tests.support.scraping import scrape

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

GRACE_S = 1.0  # of an answer beyond its deadline, on a busy machine


async def status(http: httpx.AsyncClient, path: str = "/products/1") -> int:
    return (await http.get(path)).status_code


async def answers_again(http: httpx.AsyncClient, timeout_s: float = 30.0) -> None:
    async def is_answered() -> bool:
        return await status(http) == 200

    await eventually(is_answered, timeout_s=timeout_s)


async def test_an_upstream_that_is_gone_is_502_until_it_is_back(
    user: httpx.AsyncClient, system: System
) -> None:
    system.supervisor.scale("upstream", 0)
    try:
        await eventually(lambda: is_refused(system.upstream_port))

        response = await user.get("/products/1")

        assert_problem(response, 502, "upstream_failed")
    finally:
        system.supervisor.scale("upstream", 1)
    await answers_again(user)


@pytest.mark.parametrize("fault", ["500", "html", "nonsense", "truncated", "huge"])
async def test_an_upstream_that_answers_nonsense_is_502(
    user: httpx.AsyncClient, system: System, fault: str
) -> None:
    await system.make_upstream(fail_rate=1, fail_with=fault)
    try:
        response = await user.get("/products?limit=7")

        assert_problem(response, 502, "upstream_failed")
    finally:
        await system.make_upstream()
    await answers_again(user)


async def test_an_upstream_that_is_busy_is_503_with_its_own_retry_after(
    user: httpx.AsyncClient, system: System
) -> None:
    await system.make_upstream(fail_rate=1, fail_with="429", retry_after_s=17)
    try:
        response = await user.get("/products?limit=8")

        assert_problem(response, 503, "upstream_busy")
        assert response.headers["retry-after"] == "17"
    finally:
        await system.make_upstream()


async def test_an_upstream_that_is_too_slow_is_502_or_504_within_the_deadline(
    user: httpx.AsyncClient, system: System
) -> None:
    await system.make_upstream(delay_ms=10_000)
    try:
        began = monotonic()
        response = await user.get("/products?limit=9")

        assert response.status_code in (502, 504)
        assert monotonic() - began < TIMEOUT_S + GRACE_S
    finally:
        await system.make_upstream()
    await answers_again(user)


async def test_an_empty_catalogue_is_204(user: httpx.AsyncClient, system: System) -> None:
    await system.make_upstream(fail_rate=1, fail_with="empty")
    try:
        response = await user.get("/products")

        assert response.status_code == 204
        assert response.content == b""
    finally:
        await system.make_upstream()


async def test_no_catalogue_worker_is_503_at_once_until_one_is_back(
    user: httpx.AsyncClient, system: System
) -> None:
    system.supervisor.scale("catalog_worker", 0)
    try:

        async def is_known() -> bool:
            return await status(user, "/readyz") == 503

        await eventually(is_known)
        began = monotonic()

        response = await user.get("/products/1")

        assert_problem(response, 503, "unavailable")
        assert "retry-after" in response.headers
        assert monotonic() - began < GRACE_S
    finally:
        system.supervisor.scale("catalog_worker", 1)
    await answers_again(user)


async def test_a_locked_database_is_503_for_signing_in_while_products_still_come(
    user: httpx.AsyncClient, system: System
) -> None:
    async def is_known() -> bool:
        return await status(user, "/readyz") == 503

    with closing(sqlite3.connect(system.state.users_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        signing_in, product = await asyncio.gather(
            user.post("/auth", json=CREDENTIALS), user.get("/products/1")
        )
        await eventually(is_known)
        other.execute("ROLLBACK")

    assert_problem(signing_in, 503, "unavailable")
    assert product.status_code == 200
    await until_ready(system.url)
    assert (await user.post("/auth", json=CREDENTIALS)).status_code == 200


async def test_no_auth_worker_is_503_for_signing_in_while_products_still_come(
    user: httpx.AsyncClient, system: System
) -> None:
    system.supervisor.scale("auth_worker", 0)
    try:

        async def is_known() -> bool:
            return await status(user, "/readyz") == 503

        await eventually(is_known)

        signing_in = await user.post("/auth", json=CREDENTIALS)
        product = await user.get("/products/1")

        assert_problem(signing_in, 503, "unavailable")
        assert product.status_code == 200
    finally:
        system.supervisor.scale("auth_worker", 1)
    await until_ready(system.url)


async def test_a_worker_that_stands_still_is_504_at_the_deadline(
    user: httpx.AsyncClient, system: System
) -> None:
    (pid,) = system.supervisor.pids("catalog_worker")
    os.kill(pid, signal.SIGSTOP)
    try:
        began = monotonic()
        response = await user.get("/products/1")

        assert_problem(response, 504, "reply_timeout")
        assert TIMEOUT_S - 0.1 < monotonic() - began < TIMEOUT_S + GRACE_S
    finally:
        os.kill(pid, signal.SIGCONT)
    await answers_again(user)


async def test_a_killed_broker_is_503_at_once_and_all_recovers_with_it(
    user: httpx.AsyncClient, system: System
) -> None:
    system.broker.kill()
    try:

        async def is_away() -> bool:
            return await status(user) == 503

        await eventually(is_away)
        began = monotonic()

        response = await user.get("/products/1")
        health = await user.get("/healthz")

        assert_problem(response, 503, "unavailable")
        assert "retry-after" in response.headers
        assert monotonic() - began < GRACE_S
        assert health.status_code == 200
    finally:
        await system.broker.start()
    await answers_again(user)
    await until_ready(system.url)


async def test_a_worker_killed_while_it_holds_requests_costs_no_answer(
    user: httpx.AsyncClient, system: System
) -> None:
    system.supervisor.scale("catalog_worker", 2)
    await eventually(lambda: len(system.supervisor.pids("catalog_worker")) == 2)
    await system.make_upstream(delay_ms=400)
    try:
        await workers_listen(system, 2)
        asked = [
            asyncio.create_task(user.get("/products", params={"skip": number, "limit": 1}))
            for number in range(40)
        ]
        victim = system.supervisor.pids("catalog_worker")[0]
        metrics_port = system.supervisor.metrics_ports("catalog_worker")[0]

        async def holds_requests() -> bool:  # upstream answers after 0.4 s
            return (await scrape(metrics_port)).value("postroad_requests_in_flight") > 1

        await eventually(holds_requests)
        os.kill(victim, signal.SIGKILL)
        answers = await asyncio.gather(*asked)

        assert [answer.status_code for answer in answers] == [200] * 40
        assert [answer.json()["skip"] for answer in answers] == list(range(40))
    finally:
        await system.make_upstream()
        await workers_listen(system, 2)  # or the one that stays might be the one that is not back
        system.supervisor.scale("catalog_worker", 1)
        await workers_listen(system, 1)
    await until_ready(system.url)


async def workers_listen(system: System, count: int) -> None:
    """Wait until so many catalogue workers consume."""

    async def they_do() -> bool:
        listed = await system.broker.ctl(
            *("list_queues", "-p", "postroad", "name", "consumers", "--no-table-headers")
        )
        return f"rpc.catalog\t{count}" in listed.splitlines()

    await eventually(they_do, timeout_s=20)


def is_refused(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:  # one that ends may accept, and not answer
        return False
    return False
