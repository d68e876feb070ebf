"""What the bridge sees of queues and events: the same in memory and with RabbitMQ."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from time import time

import pytest

from http_bridge.calls import broker_monitor
from http_bridge.calls.broker_monitor import BrokerMonitor, Queue, RecentEvent
from postroad.contracts.base import Event
from postroad.contracts.errors import Overloaded
from postroad.contracts.events import (
    LoginFailed,
    LoginSucceeded,
    ProductPriceChanged,
    SessionRevoked,
)
from postroad.ids import new_id
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.testing import eventually
from postroad.topology.names import EVENTS_EXCHANGE, RPC_EXCHANGE
from postroad.topology.services import Services
from tests.conformance.queues import AUTH, CATALOG, METHOD
from tests.support.bridges import QUEUES
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import consuming, publish, publishing

Keys = dict[str, KeyRing]

INTERVAL_S = 0.02
USER = 7
BACK_WITHIN_S = 10.0
LOGIN = LoginSucceeded(user_id=7, session_id="s", at=1.0, client_network="192.0.2.0/24")


@pytest.fixture
async def watch(broker: BrokerUnderTest, keys: Keys) -> AsyncIterator[BrokerMonitor]:
    watch = BrokerMonitor(
        broker.as_user("bridge"), keys["bridge"], queues=QUEUES, interval_s=INTERVAL_S
    )
    yield watch
    await watch.close()


async def tell(broker: BrokerUnderTest, keys: KeyRing, *events: Event) -> None:
    async with publishing(broker, keys.service) as publisher:
        poster = MessagePublisher(publisher, keys)
        for event in events:
            body = event.model_dump_json().encode()
            await poster.publish("event", event.name, body, message_id=new_id(), correlation_id="1")


def sees(watch: BrokerMonitor, wanted: Queue) -> Callable[[], bool]:
    return lambda: watch.sight is not None and wanted in watch.sight.queues


def is_connected(watch: BrokerMonitor) -> bool:
    return watch.sight is not None and watch.sight.is_connected


def test_the_queues_are_those_that_the_bridge_may_look_at(
    services: Services, watch: BrokerMonitor
) -> None:
    rights = services.root["bridge"]

    called = {f"rpc.{right.partition('.')[0]}" for right in rights.calls}

    assert set(watch.queues) == called | set(rights.watches)


async def test_messages_and_workers_are_counted_as_they_come_and_go(
    broker: BrokerUnderTest, watch: BrokerMonitor
) -> None:
    with watch.listening(USER):
        await eventually(sees(watch, Queue(CATALOG, 0, 0)))
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD)
        await eventually(sees(watch, Queue(CATALOG, 1, 0)))
        async with (
            consuming(broker, "catalog", CATALOG),
            consuming(broker, "catalog", CATALOG),
        ):
            await eventually(sees(watch, Queue(CATALOG, 0, 2)))
        await eventually(sees(watch, Queue(CATALOG, 1, 0)))


async def test_a_broker_that_goes_is_seen_as_away_and_then_as_back(
    broker: BrokerUnderTest, watch: BrokerMonitor
) -> None:
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))
        await broker.go_away()
        await eventually(lambda: watch.sight and not watch.sight.is_connected)
        assert sees(watch, Queue(AUTH, None, None))()

        await broker.come_back()

        await eventually(lambda: is_connected(watch), timeout_s=BACK_WITHIN_S)
        await eventually(sees(watch, Queue(AUTH, 0, 0)))


async def test_an_event_is_shown_without_what_is_nobodys_business(
    broker: BrokerUnderTest, watch: BrokerMonitor, keys: Keys
) -> None:
    began = time()
    failed = LoginFailed(user_id=None, reason="unknown_user", at=1.0, client_network="192.0.2.0/24")
    revoked = SessionRevoked(session_id="secret", user_id=7, until=time() + 9)
    price = ProductPriceChanged(product_id=3, old_price=1, new_price=2, sync_id="s")
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))

        await tell(broker, keys["auth"], LOGIN, failed, revoked)
        await tell(broker, keys["catalog"], price)

        await eventually(lambda: len(watch.happenings(after=0)) == 4)
        shown = watch.happenings(after=0)
    assert [(each.name, each.subject) for each in shown] == [
        ("auth.login.succeeded", "user 7"),
        ("auth.login.failed", None),
        ("auth.session.revoked", "user 7"),
        ("catalog.product.price_changed", "product 3"),
    ]
    assert all(began <= each.at <= time() for each in shown)
    assert RecentEvent.__slots__ == ("number", "at", "name", "subject")


async def test_an_event_that_nobody_signed_is_not_shown(
    broker: BrokerUnderTest, watch: BrokerMonitor, keys: Keys
) -> None:
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))
        await publish(broker, "auth", EVENTS_EXCHANGE, LOGIN.name, LOGIN.model_dump_json().encode())
        await tell(broker, keys["auth"], LOGIN)

        await eventually(lambda: watch.happenings(after=0))
        assert len(watch.happenings(after=0)) == 1


async def test_a_flood_of_events_is_counted_and_costs_no_more_than_some(
    broker: BrokerUnderTest, watch: BrokerMonitor, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_monitor, "EVENTS_PER_LOOK", 3)
    watch._interval_s = 1.0  # one look, in which they all come
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))
        await tell(broker, keys["auth"], *[LOGIN] * 10)

        def shown() -> int:
            return len(watch.happenings(after=0))

        await eventually(lambda: watch.sight and watch.sight.events_skipped + shown() == 10)
        assert 3 <= shown() <= 6  # of one look, or of the two between which they came


async def test_only_the_last_events_are_kept(
    broker: BrokerUnderTest, watch: BrokerMonitor, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_monitor, "EVENTS_PER_LOOK", 1000)
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))

        await tell(broker, keys["auth"], *[LOGIN] * 60)

        await eventually(lambda: [each.number for each in watch.happenings(after=59)] == [60])
        assert [each.number for each in watch.happenings(after=0)] == list(range(11, 61))


async def test_the_broker_is_polled_once_for_all_viewers_while_there_are_any(
    broker: BrokerUnderTest, watch: BrokerMonitor, keys: Keys
) -> None:
    assert not watch.is_active

    with watch.listening(USER), watch.listening(USER):
        await eventually(lambda: is_connected(watch))
        await tell(broker, keys["auth"], LOGIN)
        await eventually(lambda: watch.happenings(after=0))
        looking = watch._looking
        with watch.listening(USER):
            assert watch._looking is looking

    await eventually(lambda: not watch.is_active)
    assert (watch.sight, watch.happenings(after=0)) == (None, [])
    with watch.listening(USER):
        await eventually(lambda: is_connected(watch))


async def test_listeners_are_bounded(watch: BrokerMonitor) -> None:
    with ExitStack() as listening:
        for user_id in range(broker_monitor.LISTENERS_MAX):
            listening.enter_context(watch.listening(user_id))

        with pytest.raises(Overloaded, match="32 listen already"):
            listening.enter_context(watch.listening(USER))
