"""Replies to a client that are late, that are errors, or that are not to be trusted."""

import asyncio
from operator import attrgetter
from time import time
from typing import Any

import pytest
from pika import BasicProperties

from postroad.broker.interfaces import Delivery, Outcome
from postroad.contracts.errors import ERRORS, InternalError, PeerError, ReplyTimeout, ServiceError
from postroad.messaging.client import Client
from postroad.security.claims import Reason
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signer, Verifier
from postroad.testing import eventually
from postroad.topology.names import REPLIES_EXCHANGE
from tests.support.brokers import MemoryUnderTest
from tests.support.letters import claims_of, forge
from tests.support.services import (
    SESSION,
    SESSION_BODY,
    SIGN_IN,
    in_the_background,
)
from tests.support.traffic import Inbox, publish

OURS = [error for error in ERRORS.values() if error.__module__ == ServiceError.__module__]

Keys = dict[str, KeyRing]


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
        return await publish(self._broker, sender, REPLIES_EXCHANGE, address, body, headers=headers)


@pytest.fixture
def worker(memory_broker: MemoryUnderTest, keys: Keys) -> Answering:
    return Answering(memory_broker, keys)


# replies that are late


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


# replies that are errors


@pytest.mark.parametrize("error", OURS, ids=attrgetter("code"))
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


@pytest.mark.parametrize("wait_s", [-1, 10**10, 10**400])
async def test_an_error_says_no_wait_that_cannot_be_passed_on(
    client: Client, requests: Inbox, worker: Answering, wait_s: int
) -> None:
    call = in_the_background(client)
    error = f'{{"code":"overloaded","title":"t","detail":"d","retry_after_s":{wait_s}}}'

    await worker.answer(await requests.next(), error.encode(), is_error=True)

    with pytest.raises(ServiceError) as raised:
        await call
    assert raised.value.retry_after_s in (None, 1)


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


async def test_a_reply_whose_times_no_number_holds_is_refused(
    client: Client, requests: Inbox, worker: Answering, keys: Keys
) -> None:
    call = in_the_background(client)
    request = await requests.next()
    now, rid = time(), request.properties.message_id
    claims = claims_of((request.properties.headers or {})["signature"])
    claims |= {"typ": "reply", "iss": "auth", "aud": "bridge", "rid": rid, "exp": now + 5}
    claims |= {"kid": keys["auth"].sending_key("bridge")[0], "tms": [10**400, 1]}

    signature = forge(keys["auth"], "bridge", SESSION_BODY, claims)
    await worker.send(request, SESSION_BODY, {"signature": signature})
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
    assert client.counts == {f"refused.{Reason.MALFORMED}": 1}


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

    await publish(memory_broker, "auth", REPLIES_EXCHANGE, request.properties.reply_to or "")
    await worker.answer(request, SESSION_BODY)

    assert await call == SESSION
