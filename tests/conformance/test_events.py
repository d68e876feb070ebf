"""Events from the one who tells to all who listen: the same in memory and with RabbitMQ."""

import asyncio
from contextlib import AsyncExitStack
from time import time

import pytest

from postroad.contracts.events import LoginFailed, SessionRevoked
from postroad.messaging.publishing import MessagePublisher, NotPublished
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.testing import eventually
from tests.conformance.listening import (
    BACK_WITHIN_S,
    REVOKED,
    Ear,
    Keys,
    listening,
    revoked,
    tell,
    telling,
)
from tests.support.brokers import BrokerUnderTest


async def test_an_event_reaches_every_process_that_listens(
    broker: BrokerUnderTest, keys: Keys, publisher: MessagePublisher
) -> None:
    async with AsyncExitStack() as processes:
        ears = [
            await processes.enter_async_context(listening(broker, keys[service]))
            for service in ("bridge", "bridge", "catalog")
        ]
        event = revoked()

        await tell(publisher, event)

        await eventually(lambda: all(ear.heard == [event] for ear in ears))
        assert all(ear.listener.counts == {SessionRevoked.name: 1} for ear in ears)


async def test_an_event_reaches_only_those_who_listen_to_it(
    ear: Ear, publisher: MessagePublisher
) -> None:
    other = LoginFailed(user_id=None, reason="unknown_user", at=time(), client_network=None)
    event = revoked()

    await tell(publisher, other)
    await tell(publisher, event)

    await eventually(lambda: ear.heard)
    assert ear.heard == [event]


async def test_publishing_to_nobody_is_fine(publisher: MessagePublisher) -> None:
    await tell(publisher, REVOKED)


async def test_publishing_while_the_broker_is_away_says_so(
    broker: BrokerUnderTest, publisher: MessagePublisher
) -> None:
    await broker.go_away()

    async def says_so() -> bool:
        try:
            await tell(publisher, REVOKED)
        except NotPublished as error:
            return "away" in str(error)
        return False

    await eventually(says_so)
    await broker.come_back()
    await eventually(lambda: is_published(publisher), timeout_s=BACK_WITHIN_S)


async def test_publishing_on_a_connection_that_goes_says_so(
    broker: BrokerUnderTest, publisher: MessagePublisher
) -> None:
    publishing = asyncio.create_task(tell(publisher, REVOKED))
    await asyncio.sleep(0)  # it is on its way now

    broker.cut("auth")

    with pytest.raises(NotPublished, match="lost"):
        await asyncio.wait_for(publishing, BACK_WITHIN_S)


async def test_giving_up_on_an_event_harms_no_other(ear: Ear, publisher: MessagePublisher) -> None:
    given_up = asyncio.create_task(tell(publisher, revoked()))
    await asyncio.sleep(0)  # it is on its way now
    others = [revoked() for _ in range(3)]

    given_up.cancel()
    await asyncio.wait_for(
        asyncio.gather(*(tell(publisher, event) for event in others)), BACK_WITHIN_S
    )

    await eventually(lambda: ear.heard[-3:] == others)


async def is_published(publisher: MessagePublisher) -> bool:
    try:
        await tell(publisher, REVOKED)
    except NotPublished:
        return False
    return True


async def test_a_listener_whose_connection_goes_listens_again_and_says_so(
    broker: BrokerUnderTest, ear: Ear, publisher: MessagePublisher
) -> None:
    assert len(ear.opened) == 1

    broker.cut("bridge")

    await eventually(lambda: len(ear.opened) == 2 and ear.is_open, timeout_s=BACK_WITHIN_S)
    event = revoked()
    await tell(publisher, event)
    await eventually(lambda: ear.heard == [event])


async def test_a_listener_hears_by_new_keys(
    broker: BrokerUnderTest, keys: Keys, trust: TrustBundle
) -> None:
    renewed = Identity.create("auth")
    service = trust.services["auth"].model_copy(
        update={"keys": tuple(key.public() for key in renewed.keys)}
    )
    both = TrustBundle(services=trust.services | {"auth": service})
    own = KeyRing(keys["bridge"].identity, keys["bridge"].trust)
    async with (
        listening(broker, own) as ear,
        telling(broker, KeyRing(renewed, both)) as publisher,
    ):
        await tell(publisher, revoked())
        await eventually(lambda: ear.listener.counts["refused.unknown_key"] == 1)

        own.renew(own.identity, both)
        await tell(publisher, REVOKED)

        await eventually(lambda: ear.heard == [REVOKED])
