"""What becomes of a message that is published: the same in memory and with RabbitMQ."""

import asyncio
from typing import Any

import pytest
from pika import BasicProperties

from postroad.broker.interfaces import ConnectionState, NotOpen, Outcome
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from postroad.topology.names import (
    DEAD_WORK_EXCHANGE,
    EVENTS_EXCHANGE,
    REPLIES_EXCHANGE,
    RPC_EXCHANGE,
)
from tests.conformance.queues import (
    AUTH,
    AUTH_METHOD,
    CATALOG,
    DEAD_CATALOG,
    LONG_MS,
    METHOD,
    REVOKED,
    with_policy,
)
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import consuming, publish, publishing, replies_to, send


async def bodies_in(broker: BrokerUnderTest, queue: str) -> list[bytes]:
    return [seen.body for seen in await broker.look(queue)]


async def test_a_message_that_reaches_a_queue_is_confirmed(broker: BrokerUnderTest) -> None:
    outcome = await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"body")

    assert outcome is Outcome.CONFIRMED
    assert await bodies_in(broker, CATALOG) == [b"body"]


async def test_a_message_without_a_queue_is_returned(broker: BrokerUnderTest) -> None:
    outcome = await publish(broker, "catalog", REPLIES_EXCHANGE, "reply.bridge.gone")

    assert outcome is Outcome.RETURNED


async def test_each_message_has_its_own_outcome(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as inbox, publishing(broker, "catalog") as publisher:
        keys = [inbox.address, "reply.bridge.gone"] * 20

        outcomes = await asyncio.gather(
            *(
                send(publisher, REPLIES_EXCHANGE, key, message_id=str(n))
                for n, key in enumerate(keys)
            )
        )

    assert outcomes == [Outcome.CONFIRMED, Outcome.RETURNED] * 20


async def test_a_full_queue_refuses(open_broker: OpenBroker, topology: Definitions) -> None:
    broker = await open_broker(with_policy(topology, "rpc", max_length=2))

    async with publishing(broker, "bridge") as publisher:
        outcomes = [await send(publisher, RPC_EXCHANGE, METHOD) for _ in range(4)]

    assert outcomes == [Outcome.CONFIRMED] * 2 + [Outcome.REFUSED] * 2
    assert await broker.depth(CATALOG) == 2


async def test_a_queue_is_full_too_when_it_holds_as_many_bytes_as_it_may(
    open_broker: OpenBroker, topology: Definitions
) -> None:
    broker = await open_broker(with_policy(topology, "rpc", max_length_bytes=2_000))

    async with publishing(broker, "bridge") as publisher:
        outcomes = [await send(publisher, RPC_EXCHANGE, METHOD, b" " * 1_000) for _ in range(4)]

    assert outcomes == [Outcome.CONFIRMED] * 2 + [Outcome.REFUSED] * 2


async def test_what_a_consumer_holds_does_not_count_as_length(
    open_broker: OpenBroker, topology: Definitions
) -> None:
    broker = await open_broker(with_policy(topology, "rpc", max_length=2))

    async with (
        consuming(broker, "catalog", CATALOG, prefetch=3) as inbox,
        publishing(broker, "bridge") as publisher,
    ):
        held = [
            (await send(publisher, RPC_EXCHANGE, METHOD), await inbox.next())[0] for _ in range(3)
        ]
        waiting = [await send(publisher, RPC_EXCHANGE, METHOD) for _ in range(3)]

    assert held == [Outcome.CONFIRMED] * 3
    assert waiting == [Outcome.CONFIRMED, Outcome.CONFIRMED, Outcome.REFUSED]


async def test_without_reject_publish_a_full_queue_drops_its_oldest(
    open_broker: OpenBroker, topology: Definitions
) -> None:
    broker = await open_broker(with_policy(topology, "rpc", max_length=2, overflow="drop-head"))

    async with publishing(broker, "bridge") as publisher:
        outcomes = [
            await send(publisher, RPC_EXCHANGE, METHOD, body) for body in (b"1", b"2", b"3")
        ]

    assert outcomes == [Outcome.CONFIRMED] * 3
    assert await bodies_in(broker, CATALOG) == [b"2", b"3"]


async def test_nothing_is_published_without_a_connection(broker: BrokerUnderTest) -> None:
    publisher = broker.as_user("bridge").publisher()

    with pytest.raises(NotOpen):
        await send(publisher, RPC_EXCHANGE, METHOD)

    assert publisher.state is ConnectionState.CLOSED


async def test_what_is_unconfirmed_when_the_connection_is_cut_is_lost(
    broker: BrokerUnderTest,
) -> None:
    async with publishing(broker, "bridge") as publisher:
        outcomes: list[Outcome] = []
        publisher.publish(RPC_EXCHANGE, METHOD, b"{}", BasicProperties(), outcomes.append)

        broker.cut("bridge")

        await eventually(lambda: outcomes == [Outcome.LOST])
        assert await publisher.opened(5)
        assert await send(publisher, RPC_EXCHANGE, METHOD) is Outcome.CONFIRMED


async def test_after_the_close_every_message_has_had_its_outcome(broker: BrokerUnderTest) -> None:
    async with publishing(broker, "bridge") as publisher:
        outcomes: list[Outcome] = []
        for _ in range(50):
            publisher.publish(RPC_EXCHANGE, METHOD, b"{}", BasicProperties(), outcomes.append)

        await publisher.close()

        assert len(outcomes) == 50
        assert publisher.state is ConnectionState.CLOSED


async def test_an_outcome_is_not_told_within_the_call(broker: BrokerUnderTest) -> None:
    async with publishing(broker, "bridge") as publisher:
        outcomes: list[Outcome] = []

        publisher.publish(RPC_EXCHANGE, METHOD, b"{}", BasicProperties(), outcomes.append)

        assert outcomes == []
        await eventually(lambda: outcomes == [Outcome.CONFIRMED])


async def test_a_publisher_waits_for_the_broker_to_come_back(broker: BrokerUnderTest) -> None:
    async with publishing(broker, "bridge") as publisher:
        await broker.go_away()
        await eventually(lambda: publisher.state is ConnectionState.RECOVERING)
        assert not await publisher.opened(0.05)
        with pytest.raises(NotOpen):
            await send(publisher, RPC_EXCHANGE, METHOD)

        await broker.come_back()

        assert await publisher.opened(5)
        assert await send(publisher, RPC_EXCHANGE, METHOD) is Outcome.CONFIRMED


@pytest.mark.parametrize(
    ("user", "exchange", "routing_key"),
    [
        ("bridge", RPC_EXCHANGE, "auth.users.delete"),  # not among its methods
        ("bridge", REPLIES_EXCHANGE, "reply.bridge.x"),
        ("bridge", EVENTS_EXCHANGE, "auth.user.created"),
        ("bridge", DEAD_WORK_EXCHANGE, ""),
        ("bridge", "", CATALOG),
        ("bridge", "no_such_exchange", METHOD),
        ("catalog", EVENTS_EXCHANGE, REVOKED),
        ("catalog", RPC_EXCHANGE, METHOD),
        ("catalog", RPC_EXCHANGE, AUTH_METHOD),
        ("catalog", REPLIES_EXCHANGE, "catalog.products.get"),
        ("catalog", "", AUTH),
        ("auth", EVENTS_EXCHANGE, "catalog.product.created"),
        ("auth", RPC_EXCHANGE, METHOD),
        ("auth", "", CATALOG),
    ],
)
async def test_a_forbidden_message_is_lost_and_the_publisher_recovers(
    broker: BrokerUnderTest, user: str, exchange: str, routing_key: str
) -> None:
    async with publishing(broker, user) as publisher:
        outcome = await send(publisher, exchange, routing_key)

        assert outcome is Outcome.LOST
        assert await publisher.opened(5)
    assert [await broker.depth(queue) for queue in (AUTH, CATALOG, DEAD_CATALOG)] == [0, 0, 0]


@pytest.mark.parametrize(
    "properties", [{"user_id": "auth"}, {"expiration": "1.5"}, {"expiration": "-1"}]
)
async def test_wrong_properties_are_refused(
    broker: BrokerUnderTest, properties: dict[str, Any]
) -> None:
    outcome = await publish(broker, "bridge", RPC_EXCHANGE, METHOD, **properties)

    assert outcome is Outcome.LOST
    assert await broker.depth(CATALOG) == 0


async def test_a_message_arrives_as_it_was_sent(broker: BrokerUnderTest) -> None:
    sent = BasicProperties(
        content_type="application/json",
        headers={"signature": "a..b", "number": 7, "on": True, "nested": {"list": [1, "ü"]}},
        correlation_id="c",
        reply_to="reply.bridge.x",
        expiration=LONG_MS,
        message_id="m",
        timestamp=1_700_000_000,
        type=METHOD,
        user_id="bridge",
    )
    async with consuming(broker, "catalog", CATALOG) as inbox:
        outcome = await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"\x00\xff", **vars(sent))

        arrived = await inbox.next()

    assert outcome is Outcome.CONFIRMED
    assert arrived.body == b"\x00\xff"
    assert arrived.properties == sent
    assert not arrived.redelivered
