"""The times of a request, over the in-memory broker and over RabbitMQ."""

import asyncio
from time import perf_counter

import pytest

from shared.contracts.auth import CreateSession, Session
from shared.contracts.errors import InvalidCredentials, ReplyTimeout
from shared.messaging.client import Client
from shared.messaging.keyring import KeyRing
from shared.telemetry import Trip, last_trip, waiting_upstream
from tests.brokers import BrokerUnderTest
from tests.conformance.queues import AUTH
from tests.services import SESSION, SIGN_IN, calling, serving
from tests.waiting import eventually

Keys = dict[str, KeyRing]
WORK_S, UPSTREAM_S = 0.03, 0.05
SLACK_S = 0.025  # for a busy machine's event loop


async def work_and_ask(request: CreateSession) -> Session:
    await asyncio.sleep(WORK_S)
    with waiting_upstream():
        await asyncio.sleep(UPSTREAM_S)
    return SESSION


async def refuse(request: CreateSession) -> Session:
    await asyncio.sleep(WORK_S)
    raise InvalidCredentials


async def trip_of(client: Client) -> tuple[Trip | None, float]:
    """Call, and give the trip with how long it took by the caller's clock."""
    began = perf_counter()
    await client.call(SIGN_IN)
    return last_trip.get(), perf_counter() - began


async def test_the_caller_learns_how_long_the_worker_took_and_waited_for_its_upstream(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: work_and_ask}),
        calling(broker, keys["bridge"]) as client,
    ):
        trip, took_s = await trip_of(client)

    assert trip is not None
    assert trip.upstream_s == pytest.approx(UPSTREAM_S, abs=SLACK_S)
    assert trip.worker_s == pytest.approx(WORK_S + UPSTREAM_S, abs=SLACK_S)
    assert trip.whole_s == pytest.approx(took_s, abs=SLACK_S)


async def test_the_caller_learns_how_long_the_request_waited_in_the_queue(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with calling(broker, keys["bridge"]) as client:
        call = asyncio.create_task(trip_of(client))
        began = perf_counter()

        async def is_waiting() -> bool:
            return await broker.depth(AUTH) == 1

        await eventually(is_waiting)
        await asyncio.sleep(0.2)  # what is to be measured
        held_s = perf_counter() - began
        async with serving(broker, keys["auth"], {CreateSession: work_and_ask}):
            trip, took_s = await call

    assert trip is not None
    assert held_s - 0.01 <= trip.queue_s <= took_s - trip.worker_s + 0.01
    assert trip.worker_s < held_s


async def test_an_error_has_its_times_too(broker: BrokerUnderTest, keys: Keys) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: refuse}),
        calling(broker, keys["bridge"]) as client,
    ):
        with pytest.raises(InvalidCredentials):
            await client.call(SIGN_IN)

    trip = last_trip.get()
    assert trip is not None
    assert trip.worker_s >= WORK_S
    assert trip.upstream_s is None


async def test_what_is_not_answered_has_no_times(broker: BrokerUnderTest, keys: Keys) -> None:
    async with calling(broker, keys["bridge"]) as client:
        async with serving(broker, keys["auth"], {CreateSession: work_and_ask}):
            await client.call(SIGN_IN)
        assert last_trip.get() is not None

        with pytest.raises(ReplyTimeout):
            await client.call(SIGN_IN, timeout_s=0.05)

    assert last_trip.get() is None
