"""Taking messages from a queue, and what becomes of them: the same in memory and with RabbitMQ."""

import asyncio

import pytest

from postroad.broker.interfaces import ConnectionState, Outcome
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from postroad.topology.names import EVENTS_EXCHANGE, RPC_EXCHANGE, dead_queue, work_queue
from tests.conformance.queues import (
    AUTH,
    AUTH_METHOD,
    CATALOG,
    DEAD_CATALOG,
    LONG_MS,
    METHOD,
    SHORT_MS,
    with_policy,
)
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import Inbox, consuming, publish, publishing, send, waiting_in

SYNC, SYNC_EVENT = work_queue("catalog", "sync"), "catalog.sync.requested"
AUDIT, AUTH_EVENT = work_queue("auth", "audit"), "auth.login.succeeded"


async def publish_all(broker: BrokerUnderTest, count: int) -> list[bytes]:
    """Fill the catalogue's queue with numbered messages."""
    bodies = [str(number).encode() for number in range(count)]
    async with publishing(broker, "bridge") as publisher:
        outcomes = await asyncio.gather(
            *(send(publisher, RPC_EXCHANGE, METHOD, body) for body in bodies)
        )
    assert set(outcomes) == {Outcome.CONFIRMED}
    return bodies


async def test_a_consumer_holds_no_more_than_its_prefetch(broker: BrokerUnderTest) -> None:
    await publish_all(broker, 5)

    async with consuming(broker, "catalog", CATALOG, prefetch=2) as inbox:
        first, _ = await inbox.take(2)
        held = (len(inbox), await broker.depth(CATALOG))
        first.ack()
        third = await inbox.next()

    assert held == (0, 3)
    assert third.body == b"2"


async def test_two_consumers_share_a_queue(broker: BrokerUnderTest) -> None:
    async with (
        consuming(broker, "catalog", CATALOG) as one,
        consuming(broker, "catalog", CATALOG) as other,
    ):
        await publish_all(broker, 6)

        shared = [{delivery.body for delivery in await inbox.take(3)} for inbox in (one, other)]

    assert shared[0] | shared[1] == {str(number).encode() for number in range(6)}


async def test_what_was_held_when_the_connection_was_cut_comes_again(
    broker: BrokerUnderTest,
) -> None:
    async with consuming(broker, "catalog", CATALOG, prefetch=2) as inbox:
        await publish_all(broker, 3)
        first, _ = await inbox.take(2)
        first.ack()
        await inbox.next()  # so the ack has been heard

        broker.cut("catalog")
        again = await inbox.take(2)

    assert [delivery.body for delivery in again] == [b"1", b"2"]
    assert all(delivery.redelivered for delivery in again)
    assert len(inbox) == 0


async def test_settling_after_the_connection_was_cut_does_nothing(broker: BrokerUnderTest) -> None:
    async with consuming(broker, "catalog", CATALOG) as inbox:
        await publish_all(broker, 3)
        deliveries = await inbox.take(3)

        broker.cut("catalog")
        again = await inbox.take(3)
        for delivery, settle in zip(deliveries, ("ack", "dead_letter", "requeue"), strict=True):
            getattr(delivery, settle)()

    assert [delivery.body for delivery in again] == [b"0", b"1", b"2"]
    await waiting_in(broker, CATALOG, count=3)
    assert await broker.depth(DEAD_CATALOG) == 0


async def test_a_delivery_settled_twice_is_a_bug(broker: BrokerUnderTest) -> None:
    async with consuming(broker, "catalog", CATALOG) as inbox:
        await publish_all(broker, 1)
        delivery = await inbox.next()
        delivery.ack()

        with pytest.raises(KeyError):
            delivery.requeue()

    assert await broker.depth(CATALOG) == 0


async def test_what_was_acked_is_gone_after_the_close_and_nothing_else(
    broker: BrokerUnderTest,
) -> None:
    bodies = await publish_all(broker, 40)
    async with consuming(broker, "catalog", CATALOG, prefetch=40) as inbox:
        deliveries = await inbox.take(40)

        for number in (1, 0, 2, 5, 3, 9):  # several in one turn, not in order
            deliveries[number].ack()
        await asyncio.sleep(0)
        for number in (4, 30, 20):
            deliveries[number].ack()

    acked = {0, 1, 2, 3, 4, 5, 9, 20, 30}
    left = await waiting_in(broker, CATALOG, count=31)
    assert [seen.body for seen in left] == [
        body for number, body in enumerate(bodies) if number not in acked
    ]


async def test_what_is_handed_back_returns_to_its_place(broker: BrokerUnderTest) -> None:
    await publish_all(broker, 4)
    async with consuming(broker, "catalog", CATALOG, prefetch=3) as inbox:
        first, second, third = await inbox.take(3)
        await inbox.consumer.stop_deliveries()

        third.requeue()
        first.requeue()
        second.ack()

        left = await waiting_in(broker, CATALOG, count=3)

    assert [seen.body for seen in left] == [b"0", b"2", b"3"]


async def test_what_is_handed_back_goes_to_another_as_redelivered(broker: BrokerUnderTest) -> None:
    async with consuming(broker, "catalog", CATALOG) as one:
        await publish_all(broker, 1)
        delivery = await one.next()
        await one.consumer.stop_deliveries()

        async with consuming(broker, "catalog", CATALOG) as other:
            delivery.requeue()
            again = await other.next()

    assert (again.body, again.redelivered) == (b"0", True)


async def test_after_stop_deliveries_nothing_comes_and_what_came_can_be_settled(
    broker: BrokerUnderTest,
) -> None:
    async with consuming(broker, "catalog", CATALOG) as inbox:
        await publish_all(broker, 1)
        delivery = await inbox.next()

        await inbox.consumer.stop_deliveries()
        state = inbox.consumer.state
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"later")
        delivery.ack()

    (left,) = await waiting_in(broker, CATALOG)
    assert left.body == b"later"
    assert state is ConnectionState.DRAINING
    assert len(inbox) == 0


async def test_a_consumer_that_stopped_stays_so_when_its_connection_comes_back(
    broker: BrokerUnderTest,
) -> None:
    async with (
        consuming(broker, "catalog", CATALOG, prefetch=100) as stopped,
        consuming(broker, "catalog", CATALOG, prefetch=100) as other,
        publishing(broker, "bridge") as publisher,
    ):
        await stopped.consumer.stop_deliveries()
        broker.cut("catalog")

        for _ in range(100):  # longer than the connections take to come back
            await send(publisher, RPC_EXCHANGE, METHOD)
            await other.next()

        assert len(stopped) == 0


async def test_a_consumer_goes_on_when_the_broker_comes_back(broker: BrokerUnderTest) -> None:
    async with consuming(broker, "catalog", CATALOG) as inbox:
        await broker.go_away()
        await eventually(lambda: inbox.consumer.state is ConnectionState.RECOVERING)

        await broker.come_back()
        await publish_all(broker, 1)

        assert (await inbox.next()).body == b"0"


@pytest.mark.parametrize(
    ("user", "queue"),
    [
        ("bridge", CATALOG),
        ("bridge", DEAD_CATALOG),
        ("auth", CATALOG),
        ("catalog", AUTH),
        ("catalog", DEAD_CATALOG),
        ("catalog", "no_such_queue"),
    ],
)
async def test_nobody_consumes_what_is_not_its_own(
    broker: BrokerUnderTest, user: str, queue: str
) -> None:
    inbox = Inbox()
    consumer = broker.as_user(user).consumer(queue, prefetch=1, on_delivery=inbox)

    await consumer.start()
    await eventually(lambda: consumer.state is ConnectionState.RECOVERING)
    await publish_all(broker, 1)

    assert await broker.depth(CATALOG) == 1
    await consumer.close()


# dead letters


async def test_rejected_work_goes_to_the_dead_letter_queue(broker: BrokerUnderTest) -> None:
    async with consuming(broker, "catalog", SYNC) as inbox:
        await publish(
            broker,
            "catalog",
            EVENTS_EXCHANGE,
            SYNC_EVENT,
            b"bad",
            expiration=LONG_MS,
            headers={"own": "header"},
        )
        (await inbox.next()).dead_letter()
        (dead,) = await waiting_in(broker, dead_queue(SYNC))

    assert dead.body == b"bad"
    assert dead.properties.expiration is None
    assert dead.headers["own"] == "header"
    assert dead.headers["x-first-death-reason"] == "rejected"
    assert dead.headers["x-first-death-queue"] == SYNC
    assert dead.headers["x-first-death-exchange"] == EVENTS_EXCHANGE
    (death,) = dead.headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (SYNC, "rejected", 1)
    assert (death["exchange"], death["routing-keys"]) == (EVENTS_EXCHANGE, [SYNC_EVENT])
    assert death["original-expiration"] == LONG_MS


async def test_a_request_that_expired_or_was_rejected_is_gone(broker: BrokerUnderTest) -> None:
    await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"expired", expiration=SHORT_MS)
    await waiting_in(broker, CATALOG, count=0)

    async with consuming(broker, "catalog", CATALOG) as inbox:
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"rejected")
        (await inbox.next()).dead_letter()
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD, b"next")
        assert (await inbox.next()).body == b"next"

    assert await broker.depth(DEAD_CATALOG) == 0


async def test_dead_letters_of_one_service_stay_apart_from_anothers(
    broker: BrokerUnderTest,
) -> None:
    async with (
        consuming(broker, "catalog", SYNC) as catalog,
        consuming(broker, "auth", AUDIT) as auth,
    ):
        await publish(broker, "catalog", EVENTS_EXCHANGE, SYNC_EVENT, b"of catalog")
        await publish(broker, "auth", EVENTS_EXCHANGE, AUTH_EVENT, b"of auth")
        (await catalog.next()).dead_letter()
        (await auth.next()).dead_letter()

        (of_catalog,) = await waiting_in(broker, dead_queue(SYNC))
        (of_auth,) = await waiting_in(broker, dead_queue(AUDIT))

    assert (of_catalog.body, of_auth.body) == (b"of catalog", b"of auth")


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
