"""A process that tells of ended sessions, and those that listen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import Any

from postroad.broker.interfaces import ConnectionState
from postroad.contracts.base import Event
from postroad.contracts.events import SessionRevoked
from postroad.ids import new_id
from postroad.messaging.event_listener import EventListener
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.testing import eventually
from tests.support.brokers import BrokerUnderTest

Keys = dict[str, KeyRing]

BACK_WITHIN_S = 10.0


def revoked(**changes: Any) -> SessionRevoked:
    usual = {"session_id": new_id(), "user_id": 1, "until": time() + 900}
    return SessionRevoked.model_validate(usual | changes)


REVOKED = revoked()
BODY = REVOKED.model_dump_json().encode()


@dataclass
class Ear:
    """A process that listens, and what it heard."""

    listener: EventListener
    heard: list[Event]
    opened: list[float]  # when it began to listen

    @property
    def is_open(self) -> bool:
        return self.listener._consumer.state is ConnectionState.OPEN


@asynccontextmanager
async def listening(broker: BrokerUnderTest, keys: KeyRing) -> AsyncIterator[Ear]:
    """Listen to ended sessions."""
    heard: list[Event] = []
    opened: list[float] = []
    listener = EventListener(
        {SessionRevoked: lambda received: heard.append(received.event)},
        broker=broker.as_user(keys.service),
        keys=keys,
        on_open=lambda: opened.append(time()),
    )
    one = Ear(listener, heard, opened)
    await listener.start()
    await eventually(lambda: one.is_open)
    yield one
    await listener.close()


@asynccontextmanager
async def telling(broker: BrokerUnderTest, keys: KeyRing) -> AsyncIterator[MessagePublisher]:
    """Give a publisher that is connected."""
    publisher = broker.as_user(keys.service).publisher()
    await publisher.start()
    assert await publisher.opened(BACK_WITHIN_S)
    yield MessagePublisher(publisher, keys)
    await publisher.close()


async def tell(publisher: MessagePublisher, event: Event) -> None:
    body = event.model_dump_json().encode()
    await publisher.publish(
        "event", event.name, body, message_id=new_id(), correlation_id="request-1"
    )
