"""Following which sessions have been ended: the same in memory and with RabbitMQ."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time

import pytest

from postroad.contracts.auth import ListRevocations, Revocation, RevocationList
from postroad.contracts.errors import Unavailable
from postroad.ids import new_id
from postroad.messaging.client import Client
from postroad.messaging.publishing import MessagePublisher
from postroad.runtime import revocation_feed
from postroad.runtime.revocation_feed import RevocationFeed
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations
from postroad.testing import calling, eventually, serving
from tests.conformance.listening import BACK_WITHIN_S, Keys, revoked, tell
from tests.support.brokers import BrokerUnderTest


class AuthService:
    """What the auth service knows, and how often it fails to say so."""

    def __init__(self) -> None:
        self.ended: list[Revocation] = []
        self.failures = 0
        self.times_asked = 0

    def end(self) -> str:
        """End a session, and tell nobody."""
        session_id = new_id()
        self.ended.append(Revocation(session_id=session_id, until=time() + 900))
        return session_id

    async def list(self, _request: ListRevocations) -> RevocationList:
        self.times_asked += 1
        if self.times_asked <= self.failures:
            raise Unavailable("the user database is away")
        return RevocationList(data=self.ended)


@pytest.fixture
def auth() -> AuthService:
    return AuthService()


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_feed, "RETRY_S", 0.05)


@asynccontextmanager
async def following(
    broker: BrokerUnderTest, keys: KeyRing, client: Client, revocations: Revocations
) -> AsyncIterator[RevocationFeed]:
    feed = RevocationFeed(
        revocations, broker=broker.as_user(keys.service), keys=keys, client=client
    )
    await feed.start()
    yield feed
    await feed.close()


@dataclass
class Follower:
    """A process that checks tokens."""

    feed: RevocationFeed
    revocations: Revocations


@pytest.fixture
async def follower(
    broker: BrokerUnderTest, keys: Keys, auth: AuthService
) -> AsyncIterator[Follower]:
    revocations = Revocations()
    async with (
        serving(broker, keys["auth"], {ListRevocations: auth.list}),
        calling(broker, keys["bridge"]) as client,
        following(broker, keys["bridge"], client, revocations) as feed,
    ):
        await eventually(lambda: feed.is_current)
        yield Follower(feed, revocations)


async def test_a_process_learns_at_its_start_what_has_ended_before(
    broker: BrokerUnderTest, keys: Keys, auth: AuthService
) -> None:
    session_id = auth.end()
    revocations = Revocations()
    async with (
        serving(broker, keys["auth"], {ListRevocations: auth.list}),
        calling(broker, keys["bridge"]) as client,
        following(broker, keys["bridge"], client, revocations) as feed,
    ):
        assert not feed.is_current

        await eventually(lambda: feed.is_current)

        assert revocations.is_revoked(session_id)


async def test_a_process_hears_what_ends_while_it_runs(
    follower: Follower, publisher: MessagePublisher
) -> None:
    event = revoked()

    await tell(publisher, event)

    await eventually(lambda: follower.revocations.is_revoked(event.session_id))


async def test_a_process_that_was_away_catches_up_when_it_is_back(
    broker: BrokerUnderTest, follower: Follower, auth: AuthService
) -> None:
    assert auth.times_asked == 1

    broker.cut("bridge")
    session_id = auth.end()

    await eventually(lambda: follower.revocations.is_revoked(session_id), timeout_s=BACK_WITHIN_S)
    await eventually(lambda: follower.feed.is_current)


async def test_a_broker_that_was_away_costs_no_revocation(
    broker: BrokerUnderTest, follower: Follower, auth: AuthService
) -> None:
    await broker.go_away()
    session_id = auth.end()
    await broker.come_back()

    await eventually(lambda: follower.revocations.is_revoked(session_id), timeout_s=BACK_WITHIN_S)


async def test_a_process_asks_again_while_the_auth_service_fails(
    broker: BrokerUnderTest, keys: Keys, auth: AuthService
) -> None:
    auth.failures = 3
    session_id = auth.end()
    revocations = Revocations()
    async with (
        serving(broker, keys["auth"], {ListRevocations: auth.list}),
        calling(broker, keys["bridge"]) as client,
        following(broker, keys["bridge"], client, revocations) as feed,
    ):
        await eventually(lambda: auth.times_asked == 3)
        assert not feed.is_current

        await eventually(lambda: feed.is_current)

    assert revocations.is_revoked(session_id)
    assert auth.times_asked == 4


async def test_a_process_waits_for_the_auth_service_to_come(
    broker: BrokerUnderTest, keys: Keys, auth: AuthService
) -> None:
    session_id = auth.end()
    revocations = Revocations()
    client = Client(broker.as_user("bridge"), keys["bridge"], watches=("auth",))
    await client.start()
    async with following(broker, keys["bridge"], client, revocations) as feed:
        await eventually(lambda: client._watch.listening["auth"] is False)
        assert not feed.is_current

        async with serving(broker, keys["auth"], {ListRevocations: auth.list}):
            await eventually(lambda: feed.is_current)

    await client.close()
    assert revocations.is_revoked(session_id)


async def test_a_process_can_end_while_it_catches_up(broker: BrokerUnderTest, keys: Keys) -> None:
    revocations = Revocations()
    async with calling(broker, keys["bridge"]) as client:
        async with following(broker, keys["bridge"], client, revocations) as feed:
            await eventually(lambda: client._waiting)  # the question that nobody answers

        assert not feed.is_current
        assert not client._waiting
