"""A client's calls: what is sent, and how a call fails that gets no reply."""

import asyncio
from time import monotonic

import pytest

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import (
    NotAuthorised,
    OutcomeUnknown,
    Overloaded,
    ReplyTimeout,
    Unavailable,
)
from postroad.messaging.admission import Admission
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.signatures import token_hash
from postroad.security.token_verifier import Revocations
from postroad.testing import access_token, calling, eventually, serving
from postroad.topology.definitions import Definitions
from postroad.topology.names import rpc_queue
from tests.support.brokers import MemoryUnderTest
from tests.support.letters import claims_of
from tests.support.services import (
    SESSION,
    SESSION_BODY,
    SIGN_IN,
    in_the_background,
    sign_in,
)
from tests.support.traffic import Inbox, consuming

AUTH = rpc_queue("auth")
AT_ONCE_S = 1.0  # without waiting for anybody, on a busy machine

Keys = dict[str, KeyRing]


# what is sent


async def test_a_call_gives_the_reply(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert await client.call(SIGN_IN) == SESSION
        assert (await client.call_raw(SIGN_IN)).body == SESSION_BODY


async def test_many_calls_at_once_get_each_their_own_reply(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async def echo(request: CreateSession) -> Session:
        return SESSION.model_copy(update={"access_token": request.username})

    names = [str(number) for number in range(100)]
    async with serving(memory_broker, keys["auth"], {CreateSession: echo}):
        sessions = await asyncio.gather(
            *(client.call(CreateSession(username=name, sealed_password="x")) for name in names)
        )

    assert [session.access_token for session in sessions] == names


async def test_a_request_is_marked_for_the_broker_and_signed_for_the_worker(
    client: Client, requests: Inbox
) -> None:
    call = in_the_background(client, timeout_s=2.5, correlation_id="edge-1")
    properties = (await requests.next()).properties
    call.cancel()

    claims = claims_of((properties.headers or {})["signature"])
    assert properties.expiration == "2500"
    assert properties.user_id == claims["iss"] == "bridge"
    assert properties.type == claims["op"] == CreateSession.method
    assert properties.message_id == claims["jti"]
    assert properties.correlation_id == claims["cid"] == "edge-1"
    assert properties.reply_to == claims["rto"]
    assert properties.content_type == "application/json"
    assert claims["exp"] - claims["iat"] == pytest.approx(2.5, abs=0.01)
    assert "authorization" not in (properties.headers or {})


async def test_without_a_correlation_id_a_request_starts_a_story_of_its_own(
    client: Client, requests: Inbox
) -> None:
    call = in_the_background(client)
    properties = (await requests.next()).properties
    call.cancel()

    assert properties.correlation_id == properties.message_id


@pytest.mark.parametrize("is_text", [True, False])
async def test_a_users_token_travels_with_the_request_and_is_bound_to_it(
    memory_broker: MemoryUnderTest,
    client: Client,
    keys: Keys,
    identities: dict[str, Identity],
    is_text: bool,
) -> None:
    user = access_token(keys["bridge"], identities["auth"])
    async with consuming(memory_broker, "catalog", rpc_queue("catalog")) as requests:
        call = asyncio.create_task(
            client.call(GetProduct(product_id=7), user=user.text if is_text else user)
        )
        request = await requests.next()
        call.cancel()

    headers = request.properties.headers or {}
    assert headers["authorization"] == user.text
    assert claims_of(headers["signature"])["ath"] == token_hash(user.text)
    Admission(keys["catalog"], {}, Revocations()).verify(request)


@pytest.mark.parametrize("correlation_id", ['"', "a b", "x" * 129, "a\nb"])
async def test_a_correlation_id_must_be_plain(
    client: Client, requests: Inbox, correlation_id: str
) -> None:
    with pytest.raises(ValueError, match="correlation id"):
        await client.call(SIGN_IN, correlation_id=correlation_id)

    assert client._waiting == {}


# failures: each at once, and by name


async def test_without_a_reply_a_call_ends_at_its_deadline(client: Client, requests: Inbox) -> None:
    began = monotonic()

    with pytest.raises(ReplyTimeout):
        await client.call(SIGN_IN, timeout_s=0.05)

    assert 0.05 <= monotonic() - began < 1
    assert client._waiting == {}


async def test_a_deadline_that_every_worker_refuses_is_refused_at_once(
    client: Client, requests: Inbox
) -> None:
    with pytest.raises(ValueError, match="timeout_s must be at most 60"):
        await client.call(SIGN_IN, timeout_s=60.1)

    assert client._waiting == {}


async def test_a_call_that_is_no_longer_granted_is_refused_and_not_sent(
    memory_broker: MemoryUnderTest, requests: Inbox, keys: Keys
) -> None:
    own = KeyRing(keys["bridge"].identity, keys["bridge"].trust)
    reduced = own.trust.services["bridge"].model_copy(update={"calls": ("catalog.*",)})
    async with calling(memory_broker, own) as client:
        call = in_the_background(client)
        await requests.next()
        call.cancel()
        services = own.trust.services | {"bridge": reduced}
        own.renew(own.identity, own.trust.model_copy(update={"services": services}))

        with pytest.raises(NotAuthorised, match=r"bridge may not call auth\.sessions\.create"):
            await client.call(SIGN_IN)

    assert client._waiting == {}
    assert len(requests) == 0


async def test_a_call_before_the_start_is_unavailable(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    client = Client(memory_broker.as_user("bridge"), keys["bridge"])

    with pytest.raises(Unavailable, match="broker is away"):
        await client.call(SIGN_IN)


async def test_a_call_while_the_broker_is_away_is_unavailable_at_once(
    memory_broker: MemoryUnderTest, client: Client
) -> None:
    await memory_broker.go_away()
    began = monotonic()

    with pytest.raises(Unavailable, match="broker is away"):
        await client.call(SIGN_IN)

    assert monotonic() - began < AT_ONCE_S
    assert client._waiting == {}


async def test_calls_work_again_when_the_broker_is_back(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        await memory_broker.go_away()
        await memory_broker.come_back()
        await eventually(lambda: client.is_connected)

        assert await client.call(SIGN_IN) == SESSION


async def test_a_call_is_unavailable_at_once_while_no_worker_listens(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    client = Client(memory_broker.as_user("bridge"), keys["bridge"], watches=["auth"])
    await client.start()
    await eventually(lambda: client._watch.listening == {"auth": False})
    began = monotonic()

    with pytest.raises(Unavailable, match="no auth worker is running"):
        await client.call(SIGN_IN)

    assert monotonic() - began < AT_ONCE_S
    assert client.silent_services() == ["auth"]
    assert await memory_broker.depth(AUTH) == 0
    await client.close()


async def test_a_worker_that_comes_is_noticed(memory_broker: MemoryUnderTest, keys: Keys) -> None:
    client = Client(memory_broker.as_user("bridge"), keys["bridge"], watches=["auth"])
    await client.start()
    await eventually(lambda: client._watch.listening == {"auth": False})

    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        await eventually(lambda: client.silent_services() == [])

        assert await client.call(SIGN_IN) == SESSION
    await client.close()


async def test_a_call_into_a_full_queue_is_overloaded(topology: Definitions, keys: Keys) -> None:
    (policy,) = (each for each in topology["policies"] if each["name"] == "rpc")
    policy["definition"]["max-length"] = 0
    async with calling(MemoryUnderTest(topology), keys["bridge"]) as client:
        with pytest.raises(Overloaded, match="queue of auth is full"):
            await client.call(SIGN_IN)


async def test_a_call_without_a_queue_is_unavailable(
    memory_broker: MemoryUnderTest, client: Client
) -> None:
    memory_broker.broker.node.delete(AUTH)

    with pytest.raises(Unavailable, match="no queue for auth"):
        await client.call(SIGN_IN)


async def test_a_call_in_flight_when_the_connection_is_cut_has_unknown_outcome(
    memory_broker: MemoryUnderTest, client: Client, requests: Inbox
) -> None:
    call = in_the_background(client)
    await requests.next()

    memory_broker.cut("bridge")

    with pytest.raises(OutcomeUnknown):
        await call


async def test_a_call_under_way_at_the_close_has_an_unknown_outcome(
    memory_broker: MemoryUnderTest, keys: Keys, requests: Inbox
) -> None:
    async with calling(memory_broker, keys["bridge"]) as client:
        call = in_the_background(client)
        await requests.next()

    with pytest.raises(OutcomeUnknown):
        await call
