"""Following which sessions have ended, where an event was refused or the listener is lost."""

from collections.abc import AsyncIterator
from operator import attrgetter

import pytest

from postroad.contracts.auth import ListRevocations, Revocation, RevocationList
from postroad.contracts.errors import Unavailable
from postroad.messaging.publishing import MessagePublisher
from postroad.runtime import revocation_feed
from postroad.runtime.revocation_feed import KNOWN_FOR_S, RevocationFeed
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.token_verifier import Revocations
from postroad.testing import calling, eventually, serving
from tests.conformance.listening import REVOKED, revoked, tell, telling
from tests.support.brokers import MemoryUnderTest

Keys = dict[str, KeyRing]


class Auth:
    """What the auth service knows; it fails while ``is_away``."""

    def __init__(self) -> None:
        self.ended: list[Revocation] = []
        self.is_away = False
        self.knows_pages = True
        self.times_asked = 0

    def end(self) -> str:
        """End a session, and tell nobody."""
        event = revoked()
        self.ended.append(Revocation(session_id=event.session_id, until=event.until))
        return event.session_id

    async def list(self, request: ListRevocations) -> RevocationList:
        self.times_asked += 1
        if self.is_away:
            raise Unavailable("the user database is away")
        if not self.knows_pages:
            return RevocationList(data=self.ended)
        ended = sorted(self.ended, key=attrgetter("session_id"))
        rest = [each for each in ended if each.session_id > request.after]
        return RevocationList(data=rest[: request.limit])


@pytest.fixture
def auth(monkeypatch: pytest.MonkeyPatch) -> Auth:
    monkeypatch.setattr(revocation_feed, "RETRY_S", 0.01)
    monkeypatch.setattr(revocation_feed, "LOOK_S", 0.01)
    return Auth()


@pytest.fixture
def revocations() -> Revocations:
    return Revocations()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def feed(
    memory_broker: MemoryUnderTest,
    keys: Keys,
    auth: Auth,
    revocations: Revocations,
    clock: Clock,
) -> AsyncIterator[RevocationFeed]:
    async with (
        serving(memory_broker, keys["auth"], {ListRevocations: auth.list}),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        feed = RevocationFeed(
            revocations,
            broker=memory_broker.as_user("bridge"),
            keys=keys["bridge"],
            client=client,
            clock=clock,
        )
        await feed.start()
        await eventually(lambda: feed.is_current)
        yield feed
        await feed.close()


@pytest.fixture
async def stranger(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[MessagePublisher]:
    """The auth service, with a key that has not reached the bridge yet."""
    new = KeyRing(Identity.create("auth"), keys["auth"].trust)
    async with telling(memory_broker, new) as publisher:
        yield publisher


async def test_a_session_whose_end_came_under_an_unknown_key_is_ended(
    feed: RevocationFeed, auth: Auth, revocations: Revocations, stranger: MessagePublisher
) -> None:
    session_id = auth.end()

    await tell(stranger, REVOKED.model_copy(update={"session_id": session_id}))

    await eventually(lambda: revocations.is_revoked(session_id))


async def test_after_a_refused_event_it_is_not_current_until_it_has_asked(
    feed: RevocationFeed, auth: Auth, revocations: Revocations, stranger: MessagePublisher
) -> None:
    auth.is_away = True
    session_id = auth.end()

    await tell(stranger, REVOKED)

    await eventually(lambda: not feed.is_current)
    auth.is_away = False
    await eventually(lambda: feed.is_current)
    assert revocations.is_revoked(session_id)


async def test_it_asks_again_when_the_keys_were_renewed(
    feed: RevocationFeed, keys: Keys, auth: Auth, revocations: Revocations
) -> None:
    session_id = auth.end()

    keys["bridge"].renew(keys["bridge"].identity, keys["bridge"].trust)

    await eventually(lambda: revocations.is_revoked(session_id))


async def test_it_asks_every_minute_though_nothing_was_missed(
    monkeypatch: pytest.MonkeyPatch, feed: RevocationFeed, auth: Auth, revocations: Revocations
) -> None:
    monkeypatch.setattr(revocation_feed, "INTERVAL_S", 0.01)
    feed._wanted.set()  # the wait of a minute is under way
    session_id = auth.end()

    await eventually(lambda: revocations.is_revoked(session_id))
    times = auth.times_asked
    await eventually(lambda: auth.times_asked > times + 1)


@pytest.mark.parametrize("knows_pages", [True, False], ids=["pages", "all at once"])
@pytest.mark.parametrize("count", [3, 4, 5])
async def test_it_reads_a_list_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
    feed: RevocationFeed,
    auth: Auth,
    revocations: Revocations,
    count: int,
    *,
    knows_pages: bool,
) -> None:
    monkeypatch.setattr(revocation_feed, "REVOCATIONS_LISTED", 4 if not knows_pages else 2)
    auth.knows_pages = knows_pages
    ended = [auth.end() for _ in range(count)]

    feed._wanted.set()

    await eventually(lambda: all(map(revocations.is_revoked, ended)))
    await eventually(lambda: feed.is_current)


async def test_it_stays_current_while_the_auth_service_is_away(
    feed: RevocationFeed, auth: Auth
) -> None:
    auth.is_away = True
    times = auth.times_asked

    feed._wanted.set()

    await eventually(lambda: auth.times_asked > times + 1)
    assert feed.is_current


async def test_it_is_not_current_while_its_listener_is_refused(
    memory_broker: MemoryUnderTest, feed: RevocationFeed, auth: Auth, revocations: Revocations
) -> None:
    memory_broker.broker.is_away = True  # to new connections; the client's stays
    feed._listener._consumer._link.fail()  # type: ignore[attr-defined]
    session_id = auth.end()

    assert not feed.is_current

    memory_broker.broker.is_away = False
    await eventually(lambda: feed.is_current)
    assert revocations.is_revoked(session_id)


async def test_a_process_that_is_not_current_was_so_lately_for_a_minute(
    memory_broker: MemoryUnderTest, feed: RevocationFeed, clock: Clock, revocations: Revocations
) -> None:
    memory_broker.broker.is_away = True
    feed._listener._consumer._link.fail()  # type: ignore[attr-defined]

    clock.now += KNOWN_FOR_S
    assert clock.now <= revocations.known_until
    clock.now += 1
    assert clock.now > revocations.known_until

    memory_broker.broker.is_away = False
    await eventually(lambda: clock.now <= revocations.known_until)


async def test_a_process_that_is_current_stays_so_for_as_long_as_it_is(
    feed: RevocationFeed, clock: Clock, revocations: Revocations
) -> None:
    clock.now += 10 * KNOWN_FOR_S

    await eventually(lambda: clock.now <= revocations.known_until)


async def test_it_is_current_once_the_auth_service_s_keys_have_come(
    memory_broker: MemoryUnderTest, keys: Keys, auth: Auth, revocations: Revocations
) -> None:
    whole = keys["bridge"].trust
    others = {name: each for name, each in whole.services.items() if name != "auth"}
    late = KeyRing(keys["bridge"].identity, TrustBundle(services=others))
    async with (
        serving(memory_broker, keys["auth"], {ListRevocations: auth.list}),
        calling(memory_broker, late) as client,
    ):
        feed = RevocationFeed(
            revocations, broker=memory_broker.as_user("bridge"), keys=late, client=client
        )
        await feed.start()
        await eventually(lambda: feed._listener.is_open)
        assert not feed.is_current

        late.renew(late.identity, whole)

        await eventually(lambda: feed.is_current)
        await feed.close()
