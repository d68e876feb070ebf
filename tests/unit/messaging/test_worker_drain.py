"""A worker that is told to end: what it finishes, and what it leaves to others."""

import asyncio
from functools import partial

from postroad.contracts.auth import CreateSession
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.testing import eventually, serving
from postroad.topology.names import rpc_queue
from tests.support.brokers import MemoryUnderTest
from tests.support.gates import Gate, wait_at
from tests.support.services import (
    SESSION,
    SIGN_IN,
    sign_in,
)
from tests.support.traffic import waiting_in

AUTH = rpc_queue("auth")

Keys = dict[str, KeyRing]


async def test_a_drain_finishes_what_is_under_way_and_leaves_the_rest(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, prefetch=1) as worker:
        calls = [asyncio.create_task(client.call(SIGN_IN, timeout_s=5)) for _ in range(2)]
        await eventually(lambda: gate.waiting == 1)
        await waiting_in(memory_broker, AUTH)

        drain = asyncio.create_task(worker.drain(5))
        await eventually(lambda: not worker.is_ready)
        gate.is_open.set()
        await drain

    done, under_way = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [call.result() for call in done] == [SESSION]
    assert await memory_broker.depth(AUTH) == 1
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert [await call for call in under_way] == [SESSION]


async def test_what_a_drain_cannot_finish_in_time_goes_to_another_worker(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, drain_timeout_s=0.01):
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=5))
        await eventually(lambda: gate.waiting == 1)

    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert await call == SESSION


async def test_an_idle_worker_drains_at_once(memory_broker: MemoryUnderTest, keys: Keys) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await asyncio.wait_for(worker.drain(60), 10)


async def test_a_drain_waits_until_every_reply_is_confirmed(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, prefetch=50) as worker:
        calls = [asyncio.create_task(client.call(SIGN_IN)) for _ in range(50)]
        await eventually(lambda: gate.waiting == 50)

        drain = asyncio.create_task(worker.drain(5))
        gate.is_open.set()
        await drain

        assert worker.counts == {"ok": 50}
        assert await asyncio.gather(*calls) == [SESSION] * 50
