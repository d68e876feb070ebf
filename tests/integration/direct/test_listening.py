"""Python services of other teams that hear our events, over the real broker."""

import asyncio
from time import time
from typing import assert_type

import pytest
import structlog

from postroad import NotAuthorised, ReceivedEvent, listen
from postroad.broker.interfaces import Publisher
from postroad.contracts.base import Event
from postroad.contracts.events import LoginFailed, LoginSucceeded, ProductAdded
from postroad.messaging.publishing import MessagePublisher
from postroad.runtime import connect
from postroad.security.keyring import KeyRing
from postroad.testing import eventually
from tests.integration.direct.conftest import ServiceFiles
from tests.support.brokers import RabbitUnderTest
from tests.support.traffic import publishing

pytestmark = pytest.mark.integration

Keys = dict[str, KeyRing]


def login(user_id: int) -> LoginSucceeded:
    return LoginSucceeded(user_id=user_id, session_id="s", at=time(), client_network=None)


async def tell(publisher: Publisher, keys: KeyRing, event: Event) -> None:
    events = MessagePublisher(publisher, keys)
    events._service = "auth"  # the broker lets nobody name another user
    body = event.model_dump_json().encode()
    await events.publish("event", event.name, body, message_id="m1", correlation_id="c1")


async def test_events_come_typed_and_forged_ones_do_not(
    rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    succeeded = login(2)
    failed = LoginFailed(user_id=None, reason="unknown_user", at=time(), client_network=None)
    async with (
        listen(LoginSucceeded, LoginFailed, settings=shop.settings()) as events,
        publishing(rabbit_broker, "auth") as auth,
    ):
        await tell(auth, keys["catalog"], login(1))
        await tell(auth, keys["auth"], succeeded)
        await tell(auth, keys["auth"], failed)

        async with asyncio.timeout(10):
            heard = [await anext(events), await anext(events)]

    assert [received.event for received in heard] == [succeeded, failed]


async def test_an_event_comes_with_its_ids_its_sender_and_its_time(
    rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    began = time()
    async with (
        listen(LoginSucceeded, settings=shop.settings()) as events,
        publishing(rabbit_broker, "auth") as auth,
    ):
        await tell(auth, keys["auth"], login(1))
        async with asyncio.timeout(10):
            received = await anext(events)

    assert_type(received, ReceivedEvent[LoginSucceeded])
    assert (received.message_id, received.correlation_id) == ("m1", "c1")
    assert received.sender == "auth"
    assert began <= received.sent_at <= time()


@pytest.mark.parametrize("right", ["auth.*", "auth.login.*", "auth.login.failed"])
async def test_a_right_subscribes_what_it_covers(
    rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles, right: str
) -> None:
    failed = LoginFailed(user_id=None, reason="unknown_user", at=time(), client_network=None)
    async with (
        listen(right, settings=shop.settings()) as events,
        publishing(rabbit_broker, "auth") as auth,
    ):
        await tell(auth, keys["auth"], failed)
        async with asyncio.timeout(10):
            received = await anext(events)

    assert_type(received, ReceivedEvent[Event])
    assert received.event == failed


async def test_an_event_that_is_heard_is_a_line_for_who_debugs(
    rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with (
            listen(LoginSucceeded, settings=shop.settings()) as events,
            publishing(rabbit_broker, "auth") as auth,
        ):
            await tell(auth, keys["auth"], login(1))
            async with asyncio.timeout(10):
                await anext(events)

    (line,) = (log for log in logs if log["event"] == "event")
    assert line["log_level"] == "debug"
    assert (line["name"], line["request_id"]) == ("auth.login.succeeded", "c1")


async def test_a_name_that_no_event_has_is_refused(shop: ServiceFiles) -> None:
    with pytest.raises(ValueError, match=r"no event is named orders\.\*; there are auth\."):
        async with listen("orders.*", settings=shop.settings()):
            pass


async def test_an_event_that_was_not_granted_is_refused_at_once(shop: ServiceFiles) -> None:
    with pytest.raises(NotAuthorised, match=r"shop may not listen to catalog\.product\.added"):
        async with listen(LoginSucceeded, ProductAdded, settings=shop.settings()):
            pass


async def test_who_is_too_far_behind_misses_events_and_is_told(
    rabbit_broker: RabbitUnderTest,
    keys: Keys,
    shop: ServiceFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "BACKLOG", 2)
    with structlog.testing.capture_logs() as logs:
        async with (
            listen(LoginSucceeded, settings=shop.settings()) as events,
            publishing(rabbit_broker, "auth") as auth,
        ):
            for number in range(3):
                await tell(auth, keys["auth"], login(number))
            await eventually(lambda: any(log["event"] == "event missed" for log in logs))

            async with asyncio.timeout(10):
                heard = [await anext(events) for _ in range(2)]

    assert [received.event.user_id for received in heard] == [0, 1]


async def test_a_listener_hears_of_each_connection_that_begins_to_listen(
    rabbit_broker: RabbitUnderTest, shop: ServiceFiles
) -> None:
    opened: list[None] = []
    url = f"amqp://127.0.0.1:{rabbit_broker._proxies['shop'].port}/{rabbit_broker.vhost}"
    settings = shop.settings().model_copy(update={"broker_urls": (url,)})

    async with listen(LoginSucceeded, settings=settings, on_open=lambda: opened.append(None)):
        assert len(opened) == 1
        await rabbit_broker.lose("shop")
        await rabbit_broker._proxies["shop"].open()

        await eventually(lambda: len(opened) == 2, timeout_s=10)
