import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from pika import BasicProperties

from shared.contracts.auth import CreateSession, Session
from shared.contracts.catalog import GetProduct
from shared.contracts.errors import (
    ERRORS,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    PeerError,
    ReplyTimeout,
    ServiceError,
    Unavailable,
)
from shared.messaging.admission import Admission
from shared.messaging.broker import Delivery, Outcome
from shared.messaging.client import Client
from shared.messaging.envelope import Reason, Signer, Verifier, token_hash
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity
from shared.messaging.names import REPLIES, rpc_queue
from shared.messaging.topology import Definitions
from shared.revocations import Revocations
from tests.brokers import MemoryUnderTest
from tests.letters import claims_of
from tests.services import SESSION, SIGN_IN, access_token, calling, serving, sign_in
from tests.traffic import Inbox, consuming, publish
from tests.waiting import eventually

AUTH = rpc_queue("auth")
AT_ONCE_S = 0.2

Keys = dict[str, KeyRing]


@pytest.fixture
async def client(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[Client]:
    async with calling(memory_broker, keys["bridge"]) as client:
        yield client


@pytest.fixture
async def requests(memory_broker: MemoryUnderTest) -> AsyncIterator[Inbox]:
    """What would reach a worker of the auth service."""
    async with consuming(memory_broker, "auth", AUTH) as inbox:
        yield inbox


class Answering:
    """Answers by hand, as a worker does, or as it should not."""

    def __init__(self, broker: MemoryUnderTest, keys: Keys) -> None:
        self._broker = broker
        self._keys = keys

    async def answer(
        self,
        request: Delivery,
        body: bytes,
        *,
        sign_as: str = "auth",
        is_error: bool = False,
        **changes: Any,
    ) -> Outcome:
        claims = Verifier(self._keys["auth"]).verify(
            (request.properties.headers or {})["signature"], request.body, typ="request"
        )
        signature = Signer(self._keys[sign_as]).reply(
            claims.model_copy(update=changes), body=body, message_id="m", is_error=is_error
        )
        return await self.send(request, body, {"signature": signature}, sender=sign_as)

    async def send(
        self, request: Delivery, body: bytes, headers: dict[str, Any], *, sender: str = "auth"
    ) -> Outcome:
        address = request.properties.reply_to or ""
        return await publish(self._broker, sender, REPLIES, address, body, headers=headers)


@pytest.fixture
def worker(memory_broker: MemoryUnderTest, keys: Keys) -> Answering:
    return Answering(memory_broker, keys)


def in_the_background(client: Client, **options: Any) -> "asyncio.Task[Session]":
    return asyncio.create_task(client.call(SIGN_IN, **options))


SESSION_BODY = SESSION.model_dump_json().encode()


# what is sent


async def test_a_call_gives_the_reply(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert await client.call(SIGN_IN) == SESSION
        assert (await client.call_unread(SIGN_IN)).body == SESSION_BODY


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


async def test_a_users_token_travels_with_the_request_and_is_bound_to_it(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, identities: dict[str, Identity]
) -> None:
    user = access_token(keys["bridge"], identities["auth"])
    async with consuming(memory_broker, "catalog", rpc_queue("catalog")) as requests:
        call = asyncio.create_task(client.call(GetProduct(product_id=7), user=user))
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


async def test_a_late_reply_is_counted_and_nothing_else(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    with pytest.raises(ReplyTimeout):
        await client.call(SIGN_IN, timeout_s=0.05)

    await worker.answer(await requests.next(), SESSION_BODY)

    await eventually(lambda: client.counts == {"late": 1})


async def test_a_reply_to_a_call_that_was_given_up_is_late(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()
    call.cancel()
    await asyncio.wait({call})

    await worker.answer(request, SESSION_BODY)

    await eventually(lambda: client.counts == {"late": 1})
    assert client._waiting == {}


async def test_a_second_reply_is_late(client: Client, requests: Inbox, worker: Answering) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.answer(request, SESSION_BODY)
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    await eventually(lambda: client.counts == {"late": 1})


async def test_a_call_before_the_start_is_unavailable(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    client = Client(await memory_broker.as_user("bridge"), keys["bridge"])

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
    client = Client(await memory_broker.as_user("bridge"), keys["bridge"], watches=["auth"])
    await client.start()
    await eventually(lambda: client._listening == {"auth": False})
    began = monotonic()

    with pytest.raises(Unavailable, match="no auth worker is running"):
        await client.call(SIGN_IN)

    assert monotonic() - began < AT_ONCE_S
    assert client.silent_services() == ["auth"]
    assert await memory_broker.depth(AUTH) == 0
    await client.close()


async def test_a_worker_that_comes_is_noticed(memory_broker: MemoryUnderTest, keys: Keys) -> None:
    client = Client(await memory_broker.as_user("bridge"), keys["bridge"], watches=["auth"])
    await client.start()
    await eventually(lambda: client._listening == {"auth": False})

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


async def test_a_call_under_way_when_the_connection_is_cut_has_an_unknown_outcome(
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


# replies that are errors


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
async def test_an_error_of_the_worker_is_raised_as_what_it_is(
    client: Client, requests: Inbox, worker: Answering, error: type[ServiceError]
) -> None:
    call = in_the_background(client)
    problem = error("what went wrong", retry_after_s=3).to_problem()

    await worker.answer(await requests.next(), problem.model_dump_json().encode(), is_error=True)

    with pytest.raises(error, match="what went wrong") as raised:
        await call
    assert type(raised.value) is error
    assert raised.value.retry_after_s == 3


async def test_an_error_of_a_newer_worker_is_a_peer_error(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)

    await worker.answer(
        await requests.next(), b'{"code":"new","title":"New","detail":"d"}', is_error=True
    )

    with pytest.raises(PeerError, match="d"):
        await call


async def test_an_error_that_cannot_be_read_is_internal(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)

    await worker.answer(await requests.next(), b"<html>", is_error=True)

    with pytest.raises(InternalError, match="cannot be read"):
        await call


# replies that are not to be trusted: counted, and the call waits for the honest one


async def test_an_unsigned_reply_is_refused(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.send(request, b'{"forged": true}', {})
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert client.counts == {f"refused.{Reason.UNSIGNED}": 1}


async def test_a_reply_by_another_service_is_refused(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.answer(request, b'{"forged": true}', sign_as="catalog")
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert client.counts == {"refused.wrong_reply": 1}


async def test_a_reply_to_another_method_is_refused(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.answer(request, b'{"forged": true}', op="auth.users.delete")
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert client.counts == {"refused.wrong_reply": 1}


async def test_a_reply_to_another_request_does_not_count_as_ours(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.answer(request, b'{"forged": true}', jti="another")
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert client.counts == {"late": 1}


async def test_a_request_that_comes_as_a_reply_is_refused(
    client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()

    await worker.send(request, request.body, dict(request.properties.headers or {}))
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert sum(client.counts.values()) == 1


async def test_a_reply_without_any_properties_does_no_harm(
    memory_broker: MemoryUnderTest, client: Client, requests: Inbox, worker: Answering
) -> None:
    call = in_the_background(client)
    request = await requests.next()
    assert BasicProperties().headers is None

    await publish(memory_broker, "auth", REPLIES, request.properties.reply_to or "")
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
