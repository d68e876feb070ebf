"""Events from the one who tells to all who listen: the same in memory and with RabbitMQ."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest

from shared import revocation_feed
from shared.contracts.auth import ListRevocations, Revocation, RevocationList
from shared.contracts.base import Event
from shared.contracts.errors import Unavailable
from shared.contracts.events import LoginFailed, SessionRevoked
from shared.messaging.broker import Outcome, State
from shared.messaging.client import Client
from shared.messaging.envelope import Signer, Verifier
from shared.messaging.events import EventListener
from shared.messaging.ids import new_id
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity, TrustBundle, unpadded_b64encode
from shared.messaging.names import EVENTS
from shared.messaging.posting import MessagePublisher, NotPublished
from shared.revocation_feed import RevocationFeed
from shared.revocations import Revocations
from tests.brokers import BrokerUnderTest
from tests.letters import claims_of
from tests.services import calling, serving
from tests.traffic import publish
from tests.waiting import eventually

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
        return self.listener._consumer.state is State.OPEN


@asynccontextmanager
async def listening(broker: BrokerUnderTest, keys: KeyRing) -> AsyncIterator[Ear]:
    """Listen to ended sessions."""
    heard: list[Event] = []
    opened: list[float] = []
    listener = EventListener(
        {SessionRevoked: heard.append},
        broker=await broker.as_user(keys.service),
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
    publisher = (await broker.as_user(keys.service)).publisher()
    await publisher.start()
    assert await publisher.opened(BACK_WITHIN_S)
    yield MessagePublisher(publisher, keys)
    await publisher.close()


@pytest.fixture
async def publisher(broker: BrokerUnderTest, keys: Keys) -> AsyncIterator[MessagePublisher]:
    async with telling(broker, keys["auth"]) as publisher:
        yield publisher


@pytest.fixture
async def ear(broker: BrokerUnderTest, keys: Keys) -> AsyncIterator[Ear]:
    async with listening(broker, keys["bridge"]) as ear:
        yield ear


async def tell(publisher: MessagePublisher, event: Event) -> None:
    body = event.model_dump_json().encode()
    await publisher.publish(
        "event", event.name, body, message_id=new_id(), correlation_id="request-1"
    )


# telling and hearing


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


# events that are not what they seem


@dataclass
class Forgery:
    """An event as it goes to the broker; each test changes something of an honest one."""

    signature: str | None
    body: bytes = BODY
    properties: dict[str, Any] = field(default_factory=lambda: {"user_id": "auth"})

    async def post(self, broker: BrokerUnderTest) -> Outcome:
        headers = {} if self.signature is None else {"signature": self.signature}
        return await publish(
            *(broker, "auth", EVENTS, SessionRevoked.name, self.body),
            headers=headers,
            **self.properties,
        )


def signed(
    keys: KeyRing, *, body: bytes = BODY, name: str = SessionRevoked.name, **claims: Any
) -> str:
    """Sign an event as its service does, but with any claims."""
    key = keys.identity.key("events")
    honest = Signer(keys).event(name=name, body=body, message_id="1", correlation_id="1")
    if not claims:
        return honest
    changed = json.dumps(claims_of(honest) | claims).encode()
    protected = unpadded_b64encode(changed)
    code = key.signer().sign(protected.encode() + b"." + body)
    return f"{protected}..{unpadded_b64encode(code)}"


def stranger(keys: Keys) -> KeyRing:
    return KeyRing(Identity.create("auth"), keys["auth"].trust)


FORGERIES: dict[str, tuple[str, Callable[[Keys], Forgery]]] = {
    "without a signature": ("unsigned", lambda _: Forgery(None)),
    "with nonsense for a signature": ("malformed", lambda _: Forgery("a..b")),
    "with another body": (
        "bad_signature",
        lambda keys: Forgery(signed(keys["auth"]), revoked().model_dump_json().encode()),
    ),
    "by a stranger": ("unknown_key", lambda keys: Forgery(signed(stranger(keys)))),
    "by a stranger under our key id": (
        "bad_signature",
        lambda keys: Forgery(signed(stranger(keys), kid=keys["auth"].identity.key("events").kid)),
    ),
    "by nobody we know": ("unknown_key", lambda keys: Forgery(signed(keys["auth"], iss="nobody"))),
    "with an algorithm for two": (
        "bad_signature",
        lambda keys: Forgery(signed(keys["auth"], alg="HS256")),
    ),
    "that is a request": ("wrong_type", lambda keys: Forgery(request_to_bridge(keys))),
    "for one service alone": (
        "wrong_audience",
        lambda keys: Forgery(signed(keys["auth"], aud="bridge")),
    ),
    "of another sender": (
        "sender_mismatch",
        lambda keys: Forgery(signed(keys["catalog"])),
    ),
    "of a sender unnamed": (
        "sender_mismatch",
        lambda keys: Forgery(signed(keys["auth"]), properties={}),
    ),
    "from long ago": ("expired", lambda keys: Forgery(signed(keys["auth"], exp=time() - 1))),
    "under another event's key": (
        "wrong_type",
        lambda keys: Forgery(signed(keys["auth"], name=LoginFailed.name)),
    ),
    "of a name there is not": (
        "wrong_type",
        lambda keys: Forgery(signed(keys["auth"], name="auth.session.begun")),
    ),
    "of a name that it may not publish": (
        "caller_not_allowed",
        lambda keys: Forgery(signed(keys["auth"], name="catalog.product.changed")),
    ),
}


def request_to_bridge(keys: Keys) -> str:
    return Signer(keys["auth"]).request(
        audience="bridge",
        method=SessionRevoked.name,
        body=BODY,
        message_id="1",
        correlation_id="1",
        reply_to="",
        deadline=time() + 5,
    )


@pytest.mark.parametrize("which", FORGERIES)
async def test_a_listener_refuses_and_counts_an_event(
    broker: BrokerUnderTest, keys: Keys, ear: Ear, publisher: MessagePublisher, which: str
) -> None:
    reason, forge = FORGERIES[which]
    honest = revoked()

    await forge(keys).post(broker)
    await tell(publisher, honest)

    await eventually(lambda: ear.heard)
    assert ear.heard == [honest]
    assert ear.listener.counts == {f"refused.{reason}": 1, SessionRevoked.name: 1}


async def test_a_listener_refuses_what_its_trust_bundle_does_not_grant(
    broker: BrokerUnderTest, keys: Keys, trust: TrustBundle, publisher: MessagePublisher
) -> None:
    mute = trust.services["auth"].model_copy(update={"publishes": ("auth.login.*",)})
    own = KeyRing(keys["bridge"].identity, TrustBundle(services=trust.services | {"auth": mute}))
    async with listening(broker, own) as ear:
        await tell(publisher, REVOKED)

        await eventually(lambda: ear.listener.counts["refused.caller_not_allowed"] == 1)
        assert not ear.heard


@pytest.mark.parametrize("body", [b"{}", b"", b"[]", b'{"session_id":', b"\xff", b'{"until":"x"}'])
async def test_a_listener_leaves_out_what_breaks_its_contract(
    broker: BrokerUnderTest, keys: Keys, ear: Ear, publisher: MessagePublisher, body: bytes
) -> None:
    honest = revoked()

    await Forgery(signed(keys["auth"], body=body), body).post(broker)
    await tell(publisher, honest)

    await eventually(lambda: ear.heard)
    assert ear.heard == [honest]
    assert ear.listener.counts == {"invalid": 1, SessionRevoked.name: 1}


def test_any_service_verifies_an_event_and_knows_whose_it_is(keys: Keys) -> None:
    claims = Verifier(keys["catalog"]).verify(signed(keys["auth"]), BODY, typ="event")

    assert (claims.iss, claims.aud, claims.op) == ("auth", EVENTS, SessionRevoked.name)


# following which sessions have been ended


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
        revocations, broker=await broker.as_user(keys.service), keys=keys, client=client
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
    client = Client(await broker.as_user("bridge"), keys["bridge"], watches=("auth",))
    await client.start()
    async with following(broker, keys["bridge"], client, revocations) as feed:
        await eventually(lambda: client._listening["auth"] is False)
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
