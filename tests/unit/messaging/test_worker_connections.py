"""A worker whose connections go and come back: no request is lost, none is taken for a copy."""

import asyncio
from functools import partial

from postroad.contracts.auth import CreateSession, Session
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers, Worker
from postroad.security.keyring import KeyRing
from postroad.testing import eventually, serving
from postroad.topology.names import rpc_queue
from tests.support.brokers import MemoryUnderTest
from tests.support.gates import Gate, wait_at
from tests.support.letters import write
from tests.support.services import (
    SESSION,
    SIGN_IN,
    sign_in,
)

AUTH = rpc_queue("auth")

Keys = dict[str, KeyRing]


def lose_publisher(worker: Worker) -> None:
    worker._publisher._link.fail()  # type: ignore[attr-defined]  # the in-memory one's


async def test_a_request_whose_reply_was_lost_is_answered_again(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    handled = 0

    async def lose_the_first_reply(request: CreateSession) -> Session:
        nonlocal handled
        handled += 1
        if handled == 1:  # between the publishing of the reply and its confirm
            asyncio.get_running_loop().call_soon(lose_publisher, worker)
        return SESSION

    handlers: Handlers = {CreateSession: lose_the_first_reply}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        assert await client.call(SIGN_IN) == SESSION

        await eventually(lambda: worker.counts == {"ok": 2, "reply.lost": 1})
    assert handled == 2
    assert await memory_broker.depth(AUTH) == 0


async def test_a_reply_waits_for_the_connection_to_come_back(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async def lose_the_publisher(request: CreateSession) -> Session:
        lose_publisher(worker)
        return SESSION

    handlers: Handlers = {CreateSession: lose_the_publisher}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        assert await client.call(SIGN_IN) == SESSION

        await eventually(lambda: worker.counts == {"ok": 1})


async def test_a_worker_answers_again_when_the_broker_is_back(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await memory_broker.go_away()
        assert not worker.is_ready
        await memory_broker.come_back()
        await eventually(lambda: worker.is_ready and client.is_connected)

        assert await client.call(SIGN_IN) == SESSION


async def test_a_redelivered_request_is_no_replay(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    gate = Gate()
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x")
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        await letter.post(memory_broker, "bridge")
        await eventually(lambda: gate.waiting == 1)

        memory_broker.cut("auth")

        await eventually(lambda: gate.waiting == 2)
        gate.is_open.set()
        await eventually(lambda: worker.counts["ok"] == 2)
    assert not [count for count in worker.counts if count.startswith("refused")]
    assert await memory_broker.depth(AUTH) == 0
