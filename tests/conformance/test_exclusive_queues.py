"""Queues of replies and of events: the same tests for the in-memory broker and for RabbitMQ."""

import pytest

from postroad.broker.interfaces import ConnectionState, Outcome, QueueCount
from postroad.contracts.events import ProductAdded
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from postroad.topology.names import EVENTS_EXCHANGE, REPLIES_EXCHANGE, RPC_EXCHANGE
from tests.conformance.queues import AUTH, CATALOG, METHOD, REVOKED
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import Inbox, consuming, listening, publish, replies_to

UNHEARD = ProductAdded.name  # no work queue takes it


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
    ("user", "event"), [("bridge", "auth.something.else"), ("bridge", "#"), ("auth", REVOKED)]
)
async def test_nobody_listens_to_what_is_not_granted(
    open_broker: OpenBroker, topology: Definitions, user: str, event: str
) -> None:
    topology["bindings"] = [
        each for each in topology["bindings"] if each["source"] != EVENTS_EXCHANGE
    ]
    broker = await open_broker(topology)
    consumer = broker.as_user(user).event_consumer(
        [event], on_delivery=Inbox(), on_open=lambda: None
    )

    await consumer.start()
    await eventually(lambda: consumer.state is ConnectionState.RECOVERING)

    assert await publish(broker, "auth", EVENTS_EXCHANGE, REVOKED) is Outcome.RETURNED
    await consumer.close()
