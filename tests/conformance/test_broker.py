"""What the code relies on in a broker: the same tests for the in-memory one and for RabbitMQ."""

import asyncio
from typing import Any

import pytest
from pika import BasicProperties

from postroad.broker.interfaces import ConnectionState, NotOpen, Outcome, QueueCount
from postroad.contracts.events import ProductAdded, SessionRevoked
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from postroad.topology.names import DEAD_EXCHANGE, EVENTS_EXCHANGE, REPLIES_EXCHANGE, RPC_EXCHANGE
from tests.conformance.queues import (
    AUTH,
    AUTH_METHOD,
    CATALOG,
    DEAD_CATALOG,
    LONG_MS,
    METHOD,
    SHORT_MS,
)
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import (
    Inbox,
    consuming,
    listening,
    publish,
    publishing,
    replies_to,
    send,
    waiting_in,
)

REVOKED = SessionRevoked.name
UNHEARD = ProductAdded.name  # no work queue takes it


def with_policy(definitions: Definitions, name: str, **changes: Any) -> Definitions:
    """Change a policy; an underscore in a key stands for a hyphen."""
    (policy,) = (each for each in definitions["policies"] if each["name"] == name)
    policy["definition"] |= {key.replace("_", "-"): value for key, value in changes.items()}
    return definitions


async def bodies_in(broker: BrokerUnderTest, queue: str) -> list[bytes]:
    return [seen.body for seen in await broker.look(queue)]


# publishing


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
        ("bridge", DEAD_EXCHANGE, ""),
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


# time to live


async def test_an_expired_message_goes_when_it_is_at_the_head(broker: BrokerUnderTest) -> None:
    await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"short", expiration=SHORT_MS)
    await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"long", expiration=LONG_MS)

    (left,) = await waiting_in(broker, CATALOG)

    assert left.body == b"long"


async def test_an_expired_message_stays_behind_a_living_one(broker: BrokerUnderTest) -> None:
    await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"long", expiration=LONG_MS)
    await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"short", expiration=SHORT_MS)
    await publish(broker, "bridge", RPC_EXCHANGE, AUTH_METHOD, b"younger", expiration=SHORT_MS)
    await waiting_in(broker, AUTH, count=0)

    depth = await broker.depth(CATALOG)
    async with consuming(broker, "catalog", CATALOG, prefetch=1) as inbox:
        (await inbox.next()).ack()
        await waiting_in(broker, CATALOG, count=0)

    assert depth == 2
    assert len(inbox) == 0


async def test_the_queues_own_time_to_live_counts_too(
    open_broker: OpenBroker, topology: Definitions
) -> None:
    broker = await open_broker(with_policy(topology, "rpc", message_ttl=1))

    outcome = await publish(broker, "bridge", RPC_EXCHANGE, METHOD, expiration=LONG_MS)

    assert outcome is Outcome.CONFIRMED
    await waiting_in(broker, CATALOG, count=0)


# replies


async def test_a_reply_reaches_only_its_owner(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as one, replies_to(broker, "bridge") as other:
        await publish(broker, "catalog", REPLIES_EXCHANGE, one.address, b"to one")
        await publish(broker, "catalog", REPLIES_EXCHANGE, other.address, b"to the other")

        to_one, to_other = await one.next(), await other.next()

    assert (to_one.body, to_other.body) == (b"to one", b"to the other")
    assert (len(one), len(other)) == (0, 0)


async def test_settling_a_reply_is_not_needed_and_does_no_harm(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as inbox:
        for _ in range(3):
            await publish(broker, "catalog", REPLIES_EXCHANGE, inbox.address)
            reply = await inbox.next()
            reply.ack()
            reply.ack()


async def test_a_reply_queue_goes_with_its_connection(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as inbox:
        before = inbox.address
        broker.cut("bridge")
        await eventually(lambda: inbox.address not in ("", before))

        async def is_gone() -> bool:
            return await publish(broker, "catalog", REPLIES_EXCHANGE, before) is Outcome.RETURNED

        await eventually(is_gone)
        assert (
            await publish(broker, "catalog", REPLIES_EXCHANGE, inbox.address) is Outcome.CONFIRMED
        )
        await inbox.next()

    assert inbox.times_lost >= 1


async def test_a_reply_queue_goes_at_the_close(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as inbox:
        address = inbox.address

    assert inbox.address == ""
    assert await publish(broker, "catalog", REPLIES_EXCHANGE, address) is Outcome.RETURNED


async def test_nobody_gets_a_reply_queue_in_anothers_name(broker: BrokerUnderTest) -> None:
    consumer = broker.as_user("bridge").reply_consumer(
        "auth", on_delivery=Inbox(), on_lost=lambda: None
    )

    await consumer.start()
    await eventually(lambda: consumer.state is ConnectionState.RECOVERING)

    assert consumer.address is None
    await consumer.close()


async def test_a_caller_can_count_the_consumers_of_a_queue(broker: BrokerUnderTest) -> None:
    async with replies_to(broker, "bridge") as inbox:
        none_yet = await inbox.replies.consumers(CATALOG)
        async with consuming(broker, "catalog", CATALOG):
            one = await inbox.replies.consumers(CATALOG)
        unknown = await inbox.replies.consumers("no_such_queue")
        still_works = await inbox.replies.consumers(AUTH)

    assert (none_yet, one, unknown, still_works) == (0, 1, None, 0)
    assert await inbox.replies.consumers(CATALOG) is None


async def test_a_listener_sees_how_many_wait_in_a_queue_and_who_consumes_it(
    broker: BrokerUnderTest,
) -> None:
    async with listening(broker, "bridge", REVOKED) as inbox:
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD)
        waiting = await inbox.events.look(CATALOG)
        async with consuming(broker, "catalog", CATALOG) as worker:
            await worker.next()
            taken = await inbox.events.look(CATALOG)
        unknown = await inbox.events.look("no_such_queue")
        other = await inbox.events.look("work.catalog.sync")

    assert (waiting, taken) == (QueueCount(1, 0), QueueCount(0, 1))
    assert (unknown, other) == (None, QueueCount(0, 0))
    assert await inbox.events.look(CATALOG) is None


# events


async def test_an_event_reaches_everybody_who_listens(broker: BrokerUnderTest) -> None:
    async with (
        listening(broker, "bridge", REVOKED) as one,
        listening(broker, "bridge", REVOKED) as other,
        listening(broker, "catalog", REVOKED) as catalog,
    ):
        outcome = await publish(broker, "auth", EVENTS_EXCHANGE, REVOKED, b"event")

        heard = [(await inbox.next()).body for inbox in (one, other, catalog)]

    assert outcome is Outcome.CONFIRMED
    assert heard == [b"event"] * 3


async def test_a_listener_hears_only_what_it_listens_to(broker: BrokerUnderTest) -> None:
    async with listening(broker, "bridge", REVOKED) as inbox:
        other = await publish(broker, "catalog", EVENTS_EXCHANGE, UNHEARD, b"other")
        await publish(broker, "auth", EVENTS_EXCHANGE, REVOKED, b"event")

        heard = await inbox.next()

    assert other is Outcome.RETURNED
    assert heard.body == b"event"


async def test_an_event_that_nobody_listens_to_is_returned(broker: BrokerUnderTest) -> None:
    assert await publish(broker, "catalog", EVENTS_EXCHANGE, UNHEARD) is Outcome.RETURNED


async def test_a_listener_is_told_of_each_new_queue(broker: BrokerUnderTest) -> None:
    async with listening(broker, "bridge", REVOKED) as inbox:
        opened_at_first = inbox.times_opened
        broker.cut("bridge")
        await eventually(lambda: inbox.times_opened == 2)

        await publish(broker, "auth", EVENTS_EXCHANGE, REVOKED, b"after")

        assert (await inbox.next()).body == b"after"
    assert opened_at_first == 1


@pytest.mark.parametrize(
    ("user", "service", "event"),
    [
        ("bridge", "bridge", "auth.something.else"),
        ("bridge", "bridge", "#"),
        ("bridge", "catalog", REVOKED),
        ("auth", "auth", REVOKED),
    ],
)
async def test_nobody_listens_to_what_is_not_granted(
    open_broker: OpenBroker, topology: Definitions, user: str, service: str, event: str
) -> None:
    topology["bindings"] = [
        each for each in topology["bindings"] if each["source"] != EVENTS_EXCHANGE
    ]
    broker = await open_broker(topology)
    consumer = broker.as_user(user).event_consumer(
        service, [event], on_delivery=Inbox(), on_open=lambda: None
    )

    await consumer.start()
    await eventually(lambda: consumer.state is ConnectionState.RECOVERING)

    assert await publish(broker, "auth", EVENTS_EXCHANGE, REVOKED) is Outcome.RETURNED
    await consumer.close()
