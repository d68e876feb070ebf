"""What each process of the running system tells Prometheus."""

import asyncio
from contextlib import closing
from time import time

import httpx
import pytest

from auth_worker.tables import outbox
from postroad.contracts.events import LoginFailed
from postroad.storage.outbox import Outbox
from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, until_ready
from tests.support.scraping import Scrape, scrape

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PROGRAMS = ("http_bridge", "auth_worker", "catalog_worker", "auth_audit", "catalog_sync")
LIST, GET = "catalog.products.list", "catalog.products.get"


async def told_by(system: System, program: str) -> Scrape:
    """Ask the one process of a program."""
    (port,) = system.supervisor.metrics_ports(program)
    return await scrape(port)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_each_process_tells_its_own_on_a_port_of_its_own(
    system: System, program: str
) -> None:
    scraped = Scrape([])

    async def is_connected() -> bool:  # a ready system may have consumers of work that are not
        nonlocal scraped
        try:
            scraped = await told_by(system, program)
        except httpx.TransportError:
            return False
        consumers = scraped.value("postroad_broker_connections_open", role="consumer")
        return consumers == (0 if program == "http_bridge" else 1)

    await eventually(is_connected)
    assert scraped.value("postroad_build_info") == 1
    assert scraped.value("process_resident_memory_bytes") > 0


async def test_one_request_is_counted_once_at_every_hop(
    system: System, user: httpx.AsyncClient
) -> None:
    route = {"route": "/products/{product_id}", "method": "GET"}
    counted: list[tuple[str, str, dict[str, str], int]] = [
        ("catalog_worker", "postroad_catalog_upstream_fetches_total", {}, 2),
        ("catalog_worker", "postroad_catalog_cache_lookups_total", {}, 2),
    ]
    for status, code in (("200", "ok"), ("404", "product_not_found")):
        counted += [
            ("http_bridge", "postroad_http_requests_total", {**route, "status": status}, 1),
            ("http_bridge", "postroad_calls_total", {"method": GET, "code": code}, 1),
            ("catalog_worker", "postroad_requests_total", {"method": GET, "code": code}, 1),
        ]

    async def values() -> list[float]:
        told = {name: await told_by(system, name) for name in ("http_bridge", "catalog_worker")}
        return [told[program].value(name, **labels) for program, name, labels, _ in counted]

    async def confirmed() -> float:
        told = await told_by(system, "http_bridge")
        return told.value("postroad_broker_published_total", outcome="confirmed")

    before, confirmed_before = await values(), await confirmed()

    assert (await user.get("/products/1")).status_code == 200
    assert (await user.get("/products/999999")).status_code == 404

    expected = [value + more for value, (*_, more) in zip(before, counted, strict=True)]

    async def are_counted() -> bool:  # who has answered counts it once the broker has confirmed
        return await values() == expected and await confirmed() >= confirmed_before + 2

    await eventually(are_counted)


async def test_an_upstream_that_fails_is_retried_and_then_given_a_rest(
    system: System, user: httpx.AsyncClient
) -> None:
    before = await told_by(system, "catalog_worker")
    await system.make_upstream(fail_rate=1)
    try:

        async def is_open() -> bool:
            await user.get("/products/5")
            after = await told_by(system, "catalog_worker")
            return after.value("postroad_catalog_breaker_state", state="open") == 1

        await eventually(is_open, timeout_s=30)
        after = await told_by(system, "catalog_worker")
    finally:
        await system.make_upstream()

    for name in ("fetches_total", "retries_total"):
        assert after.value(f"postroad_catalog_upstream_{name}") > before.value(
            f"postroad_catalog_upstream_{name}"
        )
    assert after.value("postroad_catalog_upstream_fetches_total", code="upstream_failed") > 0

    async def is_closed() -> bool:
        await user.get("/products/5")
        told = await told_by(system, "catalog_worker")
        return told.value("postroad_catalog_breaker_state", state="closed") == 1

    await eventually(is_closed, timeout_s=15)


async def test_what_is_asked_of_the_world_shows_no_metrics(
    system: System, visitor: httpx.AsyncClient, user: httpx.AsyncClient
) -> None:
    for client in (visitor, user):
        assert (await client.get("/metrics")).status_code == 404


async def test_an_outbox_that_cannot_be_emptied_is_seen(
    system: System, visitor: httpx.AsyncClient
) -> None:
    event = LoginFailed(user_id=None, reason="wrong_password", at=time(), client_network=None)
    system.broker.kill()
    try:
        with closing(system.open_database()) as database, database.writing() as transaction:
            Outbox(outbox).add(transaction, event)

        async def is_seen() -> bool:
            told = await told_by(system, "auth_worker")
            age_s = told.value("postroad_outbox_oldest_age_seconds")
            return told.value("postroad_outbox_messages") == 1 and 0 < age_s < 60

        await eventually(is_seen)
    finally:
        await system.broker.start()
    await until_ready(system.url)

    async def has_reconnected() -> bool:
        told = await told_by(system, "auth_worker")
        return (
            told.value("postroad_broker_connections_opened_total", role="consumer") > 1
            and told.value("postroad_broker_connections_lost_total", role="consumer") > 0
            and told.value("postroad_broker_connections_open", role="consumer") == 1
            and told.value("postroad_outbox_messages") == 0
        )

    await eventually(has_reconnected, timeout_s=20)
    assert (await visitor.post("/auth", json=CREDENTIALS)).status_code == 200


async def test_each_new_process_has_a_port_too(system: System) -> None:
    system.supervisor.scale("catalog_worker", 2)
    try:

        async def all_answer() -> bool:
            ports = system.supervisor.metrics_ports("catalog_worker")
            try:
                scrapes = await asyncio.gather(*(scrape(port) for port in ports))
            except httpx.TransportError:
                return False
            return len(scrapes) == len(set(ports)) == 2

        await eventually(all_answer, timeout_s=20)
    finally:
        system.supervisor.scale("catalog_worker", 1)
    await eventually(lambda: not system.supervisor.draining("catalog_worker"), timeout_s=20)
