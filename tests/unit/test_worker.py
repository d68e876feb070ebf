import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from time import time

import pytest

from shared.contracts.auth import CreateSession, Session
from shared.contracts.catalog import GetProduct, Product
from shared.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    NotAuthorised,
    ProductNotFound,
    ReplyTimeout,
)
from shared.messaging.call import Call, current_call
from shared.messaging.client import Client
from shared.messaging.envelope import token_hash
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity, TrustBundle
from shared.messaging.names import dead_queue, rpc_queue
from shared.messaging.worker import Handlers, Worker
from shared.tokens import AccessToken
from tests.brokers import MemoryUnderTest
from tests.letters import write
from tests.services import (
    LAMP,
    SESSION,
    SIGN_IN,
    access_token,
    calling,
    is_ready,
    serving,
    sign_in,
    token_text,
)
from tests.traffic import waiting_in
from tests.waiting import eventually

AUTH, CATALOG = rpc_queue("auth"), rpc_queue("catalog")
GET_LAMP = GetProduct(product_id=7)

Keys = dict[str, KeyRing]


@pytest.fixture
async def client(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[Client]:
    async with calling(memory_broker, keys["bridge"]) as client:
        yield client


@pytest.fixture
def user(keys: Keys, identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


class Gate:
    """A handler that waits until it is let through."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, request: CreateSession) -> Session:
        self.waiting += 1
        await self.is_open.wait()
        return SESSION


async def wait_at(gate: Gate, request: CreateSession) -> Session:
    return await gate(request)


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
    seen: list[Call] = []

    def look(request: GetProduct) -> Product:
        seen.append(current_call.get())
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
    assert current_call.get(None) is None


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


async def test_a_bug_in_a_handler_is_answered_without_detail_and_dead_letters_the_request(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: explode}) as worker:
        with pytest.raises(InternalError) as failure:
            await client.call(SIGN_IN)

        (dead,) = await waiting_in(memory_broker, dead_queue(AUTH))
    assert str(failure.value) == InternalError.title
    assert dead.body == SIGN_IN.model_dump_json().encode()
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


async def test_a_body_that_breaks_its_contract_is_answered_by_field_and_without_values(
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
        await asyncio.sleep(current_call.get().time_left_s() + 0.01)
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
    assert dead.body == letter.body
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


async def test_a_caller_that_is_revoked_meanwhile_gets_no_reply_and_holds_nothing_up(
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


# connections that go


def lose_publisher(worker: Worker) -> None:
    worker._publisher._link.fail()  # type: ignore[attr-defined]  # the in-memory one's


async def test_a_request_whose_reply_was_lost_is_answered_again(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    handled = 0

    async def lose_the_first_reply(request: CreateSession) -> Session:
        nonlocal handled
        handled += 1
        if handled == 1:  # between the publishing of the reply and its confirm
            asyncio.get_running_loop().call_soon(lose_publisher, worker)
        return SESSION

    handlers: Handlers = {CreateSession: lose_the_first_reply}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        assert await client.call(SIGN_IN) == SESSION

        await eventually(lambda: worker.counts == {"ok": 2, "reply.lost": 1})
    assert handled == 2
    assert await memory_broker.depth(AUTH) == 0


async def test_a_reply_waits_for_the_connection_to_come_back(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async def lose_the_publisher(request: CreateSession) -> Session:
        lose_publisher(worker)
        return SESSION

    handlers: Handlers = {CreateSession: lose_the_publisher}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        assert await client.call(SIGN_IN) == SESSION

        await eventually(lambda: worker.counts == {"ok": 1})


async def test_a_worker_answers_again_when_the_broker_is_back(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await memory_broker.go_away()
        assert not is_ready(worker)
        await memory_broker.come_back()
        await eventually(lambda: is_ready(worker) and client.is_connected)

        assert await client.call(SIGN_IN) == SESSION


async def test_a_redelivered_request_is_no_replay(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    gate = Gate()
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x")
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers) as worker:
        await letter.post(memory_broker, "bridge")
        await eventually(lambda: gate.waiting == 1)

        memory_broker.cut("auth")

        await eventually(lambda: gate.waiting == 2)
        gate.is_open.set()
        await eventually(lambda: worker.counts["ok"] == 2)
    assert not [count for count in worker.counts if count.startswith("refused")]
    assert await memory_broker.depth(AUTH) == 0


# the end


async def test_a_drain_finishes_what_is_under_way_and_leaves_the_rest(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, prefetch=1) as worker:
        calls = [asyncio.create_task(client.call(SIGN_IN, timeout_s=5)) for _ in range(2)]
        await eventually(lambda: gate.waiting == 1)
        await waiting_in(memory_broker, AUTH)

        drain = asyncio.create_task(worker.drain(5))
        await eventually(lambda: not is_ready(worker))
        gate.is_open.set()
        await drain

    done, under_way = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [call.result() for call in done] == [SESSION]
    assert await memory_broker.depth(AUTH) == 1
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert [await call for call in under_way] == [SESSION]


async def test_what_a_drain_cannot_finish_in_time_goes_to_another_worker(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, drain_timeout_s=0.01):
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=5))
        await eventually(lambda: gate.waiting == 1)

    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}):
        assert await call == SESSION


async def test_an_idle_worker_drains_at_once(memory_broker: MemoryUnderTest, keys: Keys) -> None:
    async with serving(memory_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await asyncio.wait_for(worker.drain(60), 1)


async def test_a_drain_waits_until_every_reply_is_confirmed(
    memory_broker: MemoryUnderTest, client: Client, keys: Keys
) -> None:
    gate = Gate()
    handlers: Handlers = {CreateSession: partial(wait_at, gate)}
    async with serving(memory_broker, keys["auth"], handlers, prefetch=50) as worker:
        calls = [asyncio.create_task(client.call(SIGN_IN)) for _ in range(50)]
        await eventually(lambda: gate.waiting == 50)

        drain = asyncio.create_task(worker.drain(5))
        gate.is_open.set()
        await drain

        assert worker.counts == {"ok": 50}
        assert await asyncio.gather(*calls) == [SESSION] * 50
