"""Whatever goes away comes back by itself, and until then calls fail at once or are answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from urllib.error import HTTPError

import pytest
from pika.channel import Channel

from postroad.broker import isolation
from postroad.broker.connection import Connection, Login
from postroad.broker.interfaces import ConnectionState, Outcome
from postroad.broker.publisher import CONFIRM_TIMEOUT_S
from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.errors import OutcomeUnknown, ServiceError, Unavailable
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Worker
from postroad.security.keyring import KeyRing
from postroad.testing import Reachable, calling, eventually, serving
from postroad.topology.names import RPC_EXCHANGE, rpc_queue
from tests.support.brokers import RabbitUnderTest
from tests.support.services import (
    SESSION,
    SIGN_IN,
    sign_in,
)
from tests.support.traffic import publishing, send

pytestmark = pytest.mark.integration

AT_ONCE_S = 2.0  # a call that fails without waiting for anybody, on a busy machine
BACK_WITHIN_S = 20.0  # the longest pause between two attempts, and a busy machine


@dataclass(frozen=True)
class Pair:
    """A client and the worker that answers it."""

    client: Client
    worker: Worker


@pytest.fixture
async def pair(rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Pair]:
    async with (
        serving(rabbit_broker, keys["auth"], {CreateSession: sign_in}) as worker,
        calling(rabbit_broker, keys["bridge"], watches=("auth",)) as client,
    ):
        assert await client.call(SIGN_IN) == SESSION
        yield Pair(client, worker)


async def is_answered(client: Client) -> bool:
    try:
        return await client.call(SIGN_IN, timeout_s=1) == SESSION
    except ServiceError:
        return False


async def calls_are_blocked(client: Client) -> bool:
    return not await is_answered(client) and client._publisher.state is ConnectionState.BLOCKED


async def failure_of(client: Client, *, within_s: float) -> ServiceError:
    began = monotonic()
    with pytest.raises(ServiceError) as failure:
        await client.call(SIGN_IN, timeout_s=30)
    assert monotonic() - began < within_s
    return failure.value


async def test_calls_work_again_after_the_broker_was_killed_and_restarted(
    pair: Pair, rabbit_broker: RabbitUnderTest
) -> None:
    rabbit_broker.node.kill()
    while_going = await failure_of(pair.client, within_s=AT_ONCE_S)
    await eventually(lambda: not pair.client.is_connected)
    while_away = await failure_of(pair.client, within_s=AT_ONCE_S)

    await rabbit_broker.node.start()

    await eventually(lambda: is_answered(pair.client), timeout_s=BACK_WITHIN_S)
    assert isinstance(while_going, OutcomeUnknown | Unavailable)
    assert isinstance(while_away, Unavailable)
    assert pair.worker.is_ready


async def test_calls_work_again_after_the_broker_closed_all_connections(
    pair: Pair, rabbit_broker: RabbitUnderTest
) -> None:
    before = pair.client._replies.address
    close_connections = rabbit_broker.node.management.close_connections
    closed = Counter[str]()

    def all_were_closed() -> bool:
        for user in ("auth", "bridge"):
            if closed[user] < 2:
                closed[user] += close_connections(user)
        return closed == {"auth": 2, "bridge": 2}

    await eventually(all_were_closed, timeout_s=BACK_WITHIN_S)

    await eventually(lambda: pair.client._replies.address not in (None, before))
    await eventually(lambda: is_answered(pair.client), timeout_s=BACK_WITHIN_S)


async def test_a_refusal_of_the_management_api_is_closed(rabbit_broker: RabbitUnderTest) -> None:
    with pytest.raises(HTTPError) as refusal:
        rabbit_broker.node.management.delete_vhost("none of that name")

    assert refusal.value.code == 404
    assert refusal.value.fp.closed


async def test_calls_work_again_after_the_queue_was_deleted_and_made_anew(
    pair: Pair, rabbit_broker: RabbitUnderTest
) -> None:
    rabbit_broker.delete_queue(rpc_queue("auth"))
    while_gone = await failure_of(pair.client, within_s=AT_ONCE_S)
    await eventually(lambda: pair.worker._core.consumer.state is ConnectionState.RECOVERING)

    rabbit_broker.import_definitions()

    await eventually(lambda: is_answered(pair.client), timeout_s=BACK_WITHIN_S)
    assert isinstance(while_gone, Unavailable)


async def test_another_worker_answers_what_one_held_when_its_connection_was_cut(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    held = asyncio.Event()

    async def hold(request: CreateSession) -> Session:
        held.set()
        return await asyncio.Future()

    first = await rabbit_broker.line("the first worker")
    async with (
        calling(rabbit_broker, keys["bridge"]) as client,
        serving(first, keys["auth"], {CreateSession: hold}, drain_timeout_s=0),
    ):
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=10))
        await asyncio.wait_for(held.wait(), 5)
        async with serving(rabbit_broker, keys["auth"], {CreateSession: sign_in}, prefetch=1):
            await rabbit_broker.lose("the first worker")

            assert await call == SESSION


async def test_a_memory_alarm_fails_calls_at_once_until_it_is_over(
    pair: Pair, rabbit_broker: RabbitUnderTest
) -> None:
    node = rabbit_broker.node
    await node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        # the broker says that it blocks only when it is sent something
        await eventually(lambda: calls_are_blocked(pair.client), timeout_s=BACK_WITHIN_S)
        while_blocked = await failure_of(pair.client, within_s=AT_ONCE_S)
    finally:
        await node.ctl("set_vm_memory_high_watermark", "0.4")

    await eventually(lambda: is_answered(pair.client), timeout_s=BACK_WITHIN_S)
    assert isinstance(while_blocked, Unavailable)


async def test_a_connection_that_has_gone_silent_is_given_up(
    rabbit_broker: RabbitUnderTest,
) -> None:
    line = await rabbit_broker.line("silent", broker_heartbeat_s=2)
    async with publishing(line, "bridge") as publisher:
        rabbit_broker.stall("silent")
        outcome = await send(publisher, RPC_EXCHANGE, SIGN_IN.method, timeout_s=15)

        assert outcome is Outcome.LOST
        assert await publisher.opened(BACK_WITHIN_S)
        assert await send(publisher, RPC_EXCHANGE, SIGN_IN.method) is Outcome.CONFIRMED


async def test_a_missing_confirm_ends_the_wait_before_the_heartbeat_does(
    rabbit_broker: RabbitUnderTest,
) -> None:
    line = await rabbit_broker.line("silent", broker_heartbeat_s=60)
    async with publishing(line, "bridge") as publisher:
        assert await send(publisher, RPC_EXCHANGE, SIGN_IN.method) is Outcome.CONFIRMED
        rabbit_broker.stall("silent")

        outcome = await send(
            publisher, RPC_EXCHANGE, SIGN_IN.method, timeout_s=CONFIRM_TIMEOUT_S + 2
        )

        assert outcome is Outcome.LOST
        assert await publisher.opened(BACK_WITHIN_S)


@pytest.mark.parametrize("user", ["auth", "bridge"])
async def test_who_consumes_leaves_a_node_that_changes_nothing(
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    monkeypatch: pytest.MonkeyPatch,
    user: str,
) -> None:
    """A node that is cut off from the others would answer heartbeats; this one does nothing."""
    monkeypatch.setattr(isolation, "PAUSE_S", 0.1)
    monkeypatch.setattr(isolation, "ANSWER_S", 1.0)
    line = await rabbit_broker.line("silent", broker_heartbeat_s=60)
    lines: dict[str, Reachable] = dict.fromkeys(("auth", "bridge"), rabbit_broker)
    lines[user] = line
    async with (
        serving(lines["auth"], keys["auth"], {CreateSession: sign_in}),
        calling(lines["bridge"], keys["bridge"]) as client,
    ):
        assert await client.call(SIGN_IN) == SESSION

        rabbit_broker.stall("silent")

        await eventually(lambda: is_answered(client), timeout_s=BACK_WITHIN_S)


async def test_a_node_on_which_nothing_gets_ready_is_left(rabbit_broker: RabbitUnderTest) -> None:
    line = await rabbit_broker.line("slow", broker_connect_timeout_s=0.1)
    login = Login(line.settings, "bridge", line.settings.read_broker_password())
    begun = []

    async def set_up(_connection: Connection, _channel: Channel) -> None:
        begun.append(monotonic())
        await asyncio.Event().wait()  # as where a consumer needs a majority of nodes

    connection = Connection(login, "test", set_up=set_up, on_lost=lambda: None)
    await connection.start()
    try:
        await eventually(lambda: len(begun) == 2, timeout_s=BACK_WITHIN_S)
    finally:
        await connection.close()


async def test_closing_waits_for_no_silent_broker(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    async with calling(rabbit_broker, keys["bridge"]) as client:
        call = asyncio.create_task(client.call(SIGN_IN))
        await asyncio.sleep(0)  # it has been sent
        rabbit_broker.stall("bridge")
        began = monotonic()

        await client.close()

        assert monotonic() - began < 2
        with pytest.raises(OutcomeUnknown):
            await call


async def test_a_drain_waits_for_no_silent_broker(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    async with serving(rabbit_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        rabbit_broker.stall("auth")
        began = monotonic()

        await worker.drain(0.5)

        assert monotonic() - began < 4
