"""A worker at its everyday work: its handlers, the outcome of each delivery, and its users."""

import asyncio
import threading
from dataclasses import replace
from functools import partial
from time import time

import pytest

from postroad.context import RequestContext, current_context
from postroad.contracts.auth import CreateSession, GetOwnUser, Session
from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    NotAuthorised,
    ProductNotFound,
    ReplyTimeout,
)
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.signatures import token_hash
from postroad.testing import access_token, eventually, serving
from postroad.testing.keys import token_text
from postroad.topology.names import dead_queue, rpc_queue
from tests.support.brokers import MemoryUnderTest
from tests.support.gates import Gate, wait_at
from tests.support.letters import write
from tests.support.services import (
    LAMP,
    SESSION,
    SIGN_IN,
    sign_in,
)
from tests.support.traffic import waiting_in

AUTH, CATALOG = rpc_queue("auth"), rpc_queue("catalog")
GET_LAMP = GetProduct(product_id=7)

Keys = dict[str, KeyRing]


def sign_in_plainly(request: CreateSession) -> Session:
    return SESSION.model_copy(update={"access_token": threading.current_thread().name})


async def explode(request: CreateSession) -> Session:
    raise ZeroDivisionError("secret detail")


# handlers


async def test_a_plain_handler_runs_in_a_thread(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in_plainly}):
        session = await client.call(SIGN_IN)

    assert session.access_token.startswith("handler")


async def test_plain_handlers_run_side_by_side(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    together = threading.Barrier(3, timeout=5)

    def meet(request: CreateSession) -> Session:
        together.wait()
        return SESSION

    async with serving(memory_broker, keys["auth"], {CreateSession: meet}, prefetch=3):
        answers = await asyncio.gather(*(client.call(SIGN_IN) for _ in range(3)))

    assert answers == [SESSION] * 3


async def test_handlers_may_have_their_dependencies_bound(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    gate.is_open.set()

    async with serving(memory_broker, keys["auth"], {CreateSession: partial(wait_at, gate)}):
        assert await client.call(SIGN_IN) == SESSION


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_can_know_of_its_call(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, user: AccessToken, is_async: bool
) -> None:
    seen: list[RequestContext] = []

    def look(request: GetProduct) -> Product:
        seen.append(current_context.get())
        return LAMP

    async def look_async(request: GetProduct) -> Product:
        return look(request)

    handler = look_async if is_async else look
    async with serving(memory_broker, keys["catalog"], {GetProduct: handler}):
        await client.call(GET_LAMP, user=user, timeout_s=3, correlation_id="edge-1")

    (call,) = seen
    assert (call.caller, call.correlation_id, call.user) == ("bridge", "edge-1", user)
    assert call.deadline == pytest.approx(time() + 3, abs=1)
    assert 2 < call.time_left_s() <= 3
    assert current_context.get(None) is None


async def test_no_more_requests_are_under_way_than_prefetched(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, prefetch=2):
        calls = [asyncio.create_task(client.call(SIGN_IN)) for _ in range(5)]
        await eventually(lambda: gate.waiting == 2)
        await waiting_in(memory_broker, AUTH, count=3)
        under_way = gate.waiting

        gate.is_open.set()

        assert await asyncio.gather(*calls) == [SESSION] * 5
    assert under_way == 2


# one delivery, one outcome


async def test_an_answered_request_is_gone(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await client.call(SIGN_IN)
        await eventually(lambda: worker.counts == {"ok": 1})

    assert await memory_broker.depth(AUTH) == 0
    assert await memory_broker.depth(dead_queue(AUTH)) == 0


async def test_an_error_on_purpose_is_answered_and_the_request_is_gone(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, user: AccessToken
) -> None:
    async def find_nothing(request: GetProduct) -> Product:
        raise ProductNotFound(f"no product {request.product_id}")

    async with serving(memory_broker, keys["catalog"], {GetProduct: find_nothing}) as worker:
        with pytest.raises(ProductNotFound, match="no product 7"):
            await client.call(GET_LAMP, user=user)

        await eventually(lambda: worker.counts == {"product_not_found": 1})
    assert await memory_broker.depth(CATALOG) == 0
    assert await memory_broker.depth(dead_queue(CATALOG)) == 0


async def test_a_bug_in_a_handler_is_answered_without_detail_and_dead_lettered(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: explode}) as worker:
        with pytest.raises(InternalError) as failure:
            await client.call(SIGN_IN)

        (dead,) = await waiting_in(memory_broker, dead_queue(AUTH))
    assert str(failure.value) == InternalError.title
    assert dead.body == SIGN_IN.model_dump_json().encode().replace(b'"sealed"', b'""')
    assert worker.counts == {"internal": 1}


async def test_a_worker_goes_on_after_a_bug(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    answers = iter([explode, sign_in])

    async def explode_once(request: CreateSession) -> Session:
        return await next(answers)(request)

    async with serving(memory_broker, keys["auth"], {CreateSession: explode_once}, prefetch=1):
        with pytest.raises(InternalError):
            await client.call(SIGN_IN)

        assert await client.call(SIGN_IN) == SESSION


async def test_an_invalid_body_is_answered_with_its_fields_and_no_values(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    broken = CreateSession.model_construct(username="", sealed_password="secret" * 1000)
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        with pytest.raises(InvalidRequest, match=r"username: .*sealed_password: ") as failure:
            await client.call(broken)

        await eventually(lambda: worker.counts == {"invalid_request": 1})
    assert "secret" not in str(failure.value)
    assert await memory_broker.depth(dead_queue(AUTH)) == 0


async def test_an_unknown_method_is_answered(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, user: AccessToken
) -> None:
    async with serving(memory_broker, keys["catalog"], {}):
        with pytest.raises(InvalidRequest, match=r"no method catalog\.products\.get"):
            await client.call(GET_LAMP, user=user)


async def test_a_request_whose_deadline_passes_meanwhile_is_not_answered(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async def dawdle(request: CreateSession) -> Session:
        await eventually(lambda: current_context.get().time_left_s() < 0)
        return SESSION

    async with serving(memory_broker, keys["auth"], {CreateSession: dawdle}) as worker:
        with pytest.raises(ReplyTimeout):
            await client.call(SIGN_IN, timeout_s=0.1)

        await eventually(lambda: worker.counts == {"ok": 1, "reply.late": 1})
    assert await memory_broker.depth(AUTH) == 0
    assert client.counts == {}


async def test_a_request_that_arrives_late_is_not_handled(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x", timeout_s=-1)
    async with serving(memory_broker, keys["auth"], {CreateSession: explode}) as worker:
        await letter.post(memory_broker, "bridge")

        await eventually(lambda: worker.counts == {"late": 1})
    assert await memory_broker.depth(AUTH) == 0
    assert await memory_broker.depth(dead_queue(AUTH)) == 0


async def test_a_refused_request_is_dead_lettered_and_counted(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x")
    letter.body += b" "
    async with serving(memory_broker, keys["auth"], {CreateSession: explode}) as worker:
        await letter.post(memory_broker, "bridge")

        (dead,) = await waiting_in(memory_broker, dead_queue(AUTH))
    assert dead.body == letter.body.replace(b'"sealed"', b'""')
    assert worker.counts == {"refused.bad_signature": 1}


async def test_a_caller_that_has_gone_is_counted(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.gone")
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await letter.post(memory_broker, "bridge")

        await eventually(lambda: worker.counts == {"ok": 1, "reply.returned": 1})
    assert await memory_broker.depth(AUTH) == 0


# users


async def test_a_caller_revoked_meanwhile_gets_no_reply_and_delays_no_other(
    memory_broker: MemoryUnderTest,
    client: Client,
    identities: dict[str, Identity],
    trust: TrustBundle,
) -> None:
    auth, gate = KeyRing(identities["auth"], trust), Gate()
    others = {name: each for name, each in trust.services.items() if name != "bridge"}
    async with serving(memory_broker, auth, {CreateSession: partial(wait_at, gate)}) as worker:
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=0.5))
        await eventually(lambda: gate.waiting)

        auth.renew(identities["auth"], TrustBundle(services=others))
        gate.is_open.set()

        await eventually(lambda: worker.counts["reply.late"])
        with pytest.raises(ReplyTimeout):
            await call
    assert await memory_broker.depth(AUTH) == 0


async def test_a_request_for_a_user_needs_a_token(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["catalog"], {GetProduct: explode}):
        with pytest.raises(NotAuthenticated, match="no token"):
            await client.call(GET_LAMP)


async def test_a_request_about_the_user_needs_a_token_whatever_its_scope(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {GetOwnUser: explode}):
        with pytest.raises(NotAuthenticated, match="no token"):
            await client.call(GetOwnUser())


async def test_a_token_without_the_scope_is_not_enough(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, identities: dict[str, Identity]
) -> None:
    user = access_token(keys["bridge"], identities["auth"], scope="catalog:write")
    async with serving(memory_broker, keys["catalog"], {GetProduct: explode}):
        with pytest.raises(NotAuthorised, match="catalog:read"):
            await client.call(GET_LAMP, user=user)


async def test_the_worker_verifies_the_token_itself(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys, user: AccessToken
) -> None:
    text = token_text(Identity.create("auth"))  # the caller says that it is good, and signs it
    forged = replace(user, text=text, hash=token_hash(text))
    async with serving(memory_broker, keys["catalog"], {GetProduct: explode}):
        with pytest.raises(NotAuthenticated):
            await client.call(GET_LAMP, user=forged)
