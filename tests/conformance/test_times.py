"""The times of a request, over the in-memory broker and over RabbitMQ."""

import asyncio
from functools import partial
from time import perf_counter, time

import pytest

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.errors import InvalidCredentials, ReplyTimeout
from postroad.contracts.message import CallTiming, Dated
from postroad.messaging.client import Client
from postroad.observability.timing import waiting_upstream
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signer
from postroad.testing import calling, eventually, serving
from tests.conformance.queues import AUTH
from tests.support.brokers import BrokerUnderTest
from tests.support.services import SESSION, SIGN_IN, sign_in

Keys = dict[str, KeyRing]
WORK_S, UPSTREAM_S, HELD_S = 0.03, 0.05, 0.2
CLOCKS_S = 0.005  # by which the two clocks of one machine may disagree over a second


class Working:
    """A handler that works and asks an upstream, and knows itself how long that took."""

    took_s = least_upstream_s = most_upstream_s = 0.0

    async def __call__(self, _: CreateSession) -> Session:
        began = perf_counter()
        await asyncio.sleep(WORK_S)
        asked = perf_counter()
        with waiting_upstream():
            within = perf_counter()
            await asyncio.sleep(UPSTREAM_S)
            self.least_upstream_s = perf_counter() - within
        self.most_upstream_s = perf_counter() - asked
        self.took_s = perf_counter() - began
        return SESSION


async def work(request: CreateSession, *, working: Working) -> Session:
    return await working(request)


async def refuse(request: CreateSession) -> Session:
    await asyncio.sleep(WORK_S)
    raise InvalidCredentials


def whole_s(timing: CallTiming) -> float:
    return timing.queue_s + timing.worker_s + timing.reply_s


async def timing_of(client: Client) -> tuple[CallTiming, float]:
    """Call, and return its timing with how long it took by the caller's clock."""
    began = perf_counter()
    reply = await client.call_raw(SIGN_IN)
    assert reply.timing is not None
    return reply.timing, perf_counter() - began


async def test_a_reply_says_how_long_worker_and_upstream_took(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    working = Working()
    async with (
        serving(broker, keys["auth"], {CreateSession: partial(work, working=working)}),
        calling(broker, keys["bridge"]) as client,
    ):
        timing, took_s = await timing_of(client)

    upstream_s = timing.upstream_s or 0.0
    assert working.least_upstream_s - 1e-6 <= upstream_s <= working.most_upstream_s
    assert working.took_s - 1e-6 <= timing.worker_s <= whole_s(timing) <= took_s


async def test_the_caller_learns_how_long_the_request_waited_in_the_queue(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with calling(broker, keys["bridge"]) as client:
        call = asyncio.create_task(timing_of(client))

        async def is_waiting() -> bool:
            return await broker.depth(AUTH) == 1

        await eventually(is_waiting)
        began = perf_counter()
        await asyncio.sleep(HELD_S)  # what is to be measured
        held_s = perf_counter() - began
        async with serving(broker, keys["auth"], {CreateSession: sign_in}):
            timing, took_s = await call

    assert held_s - CLOCKS_S <= timing.queue_s <= took_s
    assert timing.upstream_s is None


async def test_a_caller_whose_clock_is_ahead_has_not_waited(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: sign_in}),
        calling(broker, keys["bridge"]) as client,
    ):
        client._signer = Signer(keys["bridge"], clock=lambda: time() + 2)
        timing, took_s = await timing_of(client)

    assert timing.queue_s == 0
    assert whole_s(timing) <= took_s


async def test_a_caller_whose_clock_is_behind_has_waited_no_longer_than_it_took(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: sign_in}),
        calling(broker, keys["bridge"]) as client,
    ):
        client._signer = Signer(keys["bridge"], clock=lambda: time() - 2)
        timing, took_s = await timing_of(client)

    assert timing.queue_s + timing.worker_s <= whole_s(timing) + 1e-9 <= took_s + 1e-9
    assert timing.reply_s == 0


async def test_an_error_has_its_times_too(broker: BrokerUnderTest, keys: Keys) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: refuse}),
        calling(broker, keys["bridge"]) as client,
    ):
        with pytest.raises(InvalidCredentials) as refused:
            await client.call(SIGN_IN)

    timing = refused.value.timing
    assert timing is not None
    assert timing.worker_s >= WORK_S
    assert timing.upstream_s is None


@pytest.mark.parametrize("is_stale", [False, True])
async def test_a_reply_says_how_old_the_handler_knows_its_data_to_be(
    broker: BrokerUnderTest, keys: Keys, *, is_stale: bool
) -> None:
    as_of = round(time(), 3) - 300

    async def remember(_: CreateSession) -> Dated[Session]:
        return Dated(SESSION, as_of, is_stale)

    async with (
        serving(broker, keys["auth"], {CreateSession: remember}),
        calling(broker, keys["bridge"]) as client,
    ):
        reply = await client.call_raw(SIGN_IN)

    assert reply.parse() == SESSION
    assert reply.as_of == pytest.approx(as_of)
    assert reply.is_stale is is_stale


async def test_a_reply_whose_handler_does_not_say_is_not_dated(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: sign_in}),
        calling(broker, keys["bridge"]) as client,
    ):
        reply = await client.call_raw(SIGN_IN)

    assert (reply.as_of, reply.is_stale) == (None, False)


async def test_what_is_not_answered_has_no_times(broker: BrokerUnderTest, keys: Keys) -> None:
    async with calling(broker, keys["bridge"]) as client:
        async with serving(broker, keys["auth"], {CreateSession: sign_in}):
            assert (await client.call_raw(SIGN_IN)).timing is not None

        with pytest.raises(ReplyTimeout) as unanswered:
            await client.call(SIGN_IN, timeout_s=0.05)

    assert unanswered.value.timing is None
