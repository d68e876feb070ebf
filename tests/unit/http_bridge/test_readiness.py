"""Whether the bridge is ready: what each service says of its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from http_bridge.calls.probes import FRESH_S, ServiceProbes
from postroad.contracts.base import Request
from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import InternalError
from postroad.contracts.probes import ProbeSessions, ProbeSyncs, Readiness
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.testing import calling, serving
from postroad.testing.waiting import eventually
from tests.support.auth import Clock
from tests.support.bridges import Answer, ask, make_bridge
from tests.support.brokers import MemoryUnderTest

READ_ONLY = "the database is read-only"


def fine(_: ProbeSessions | ProbeSyncs) -> Readiness:
    return Readiness()


def read_only(_: ProbeSessions | ProbeSyncs) -> Readiness:
    return Readiness(problem=READ_ONLY)


def broken(_: ProbeSessions | ProbeSyncs) -> Readiness:
    raise InternalError


@asynccontextmanager
async def running(
    broker: MemoryUnderTest, keys: dict[str, KeyRing], auth: Handlers, catalog: Handlers
) -> AsyncIterator[Client]:
    async with (
        serving(broker, keys["auth"], auth),
        serving(broker, keys["catalog"], catalog),
        calling(broker, keys["bridge"]) as client,
    ):
        yield client


async def test_a_service_whose_database_takes_no_change_makes_it_not_ready(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    async def look(query: bytes) -> Answer:
        return await ask(bridge, "GET", "/readyz", query=query)

    async with running(
        memory_broker, keys, {ProbeSessions: read_only}, {ProbeSyncs: fine}
    ) as client:
        bridge = make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)

        of_all, of_bridge = await look(b""), await look(b"of=bridge")

    assert of_all.status == 503
    assert of_all.json()["detail"] == f"auth: {READ_ONLY}"
    assert of_bridge.status == 200


async def test_a_service_that_declares_a_probe_is_asked(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    class ProbeDoors(Request[Readiness], method="catalog.syncs.probe"):
        """Whether a door could be opened."""

    def shut(_: ProbeDoors) -> Readiness:
        return Readiness(problem=READ_ONLY)

    async with running(memory_broker, keys, {}, {ProbeDoors: shut}) as client:
        probes = ServiceProbes(client, contracts=[GetProduct, ProbeDoors])

        assert await probes.problems() == [f"catalog: {READ_ONLY}"]


async def test_a_service_that_does_not_say_is_taken_for_ready(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    async with running(memory_broker, keys, {ProbeSessions: broken}, {ProbeSyncs: fine}) as client:
        assert await ServiceProbes(client).problems() == []


async def test_however_many_want_to_know_services_are_asked_every_few_seconds(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    clock, asked = Clock(), list[ProbeSessions]()

    def count(request: ProbeSessions) -> Readiness:
        asked.append(request)
        return Readiness()

    async with running(memory_broker, keys, {ProbeSessions: count}, {ProbeSyncs: fine}) as client:
        probes = ServiceProbes(client, clock=clock)

        for _ in range(5):
            await probes.problems()
        while_fresh = len(asked)
        clock.now += FRESH_S
        await probes.problems()

    assert (while_fresh, len(asked)) == (1, 2)


async def test_a_service_that_has_not_said_yet_is_not_asked_again(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]
) -> None:
    clock, asked, may_say = Clock(), list[ProbeSessions](), asyncio.Event()

    async def wait(request: ProbeSessions) -> Readiness:
        asked.append(request)
        await may_say.wait()
        return Readiness()

    async with running(memory_broker, keys, {ProbeSessions: wait}, {ProbeSyncs: fine}) as client:
        probes = ServiceProbes(client, clock=clock)
        first = asyncio.create_task(probes.problems())
        await eventually(lambda: len(asked) == 1)
        clock.now += FRESH_S
        second = asyncio.create_task(probes.problems())
        await asyncio.sleep(0)
        may_say.set()
        await asyncio.gather(first, second)

    assert len(asked) == 1
