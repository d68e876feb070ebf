"""Handlers that call other services."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from time import time

import pytest

from shared.contracts.auth import ListRevocations, RevocationList
from shared.contracts.catalog import GetProduct, Product
from shared.contracts.errors import ProductNotFound, ReplyTimeout
from shared.messaging.call import Call, current_call
from shared.messaging.client import Client
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity
from shared.messaging.names import rpc_queue
from shared.messaging.worker import Worker
from shared.tokens import AccessToken
from tests.brokers import MemoryUnderTest
from tests.services import LAMP, access_token, calling, serving

Keys = dict[str, KeyRing]

GET_LAMP = GetProduct(product_id=7)


@pytest.fixture
def user(keys: Keys, identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
async def bridge(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[Client]:
    async with calling(memory_broker, keys["bridge"]) as client:
        yield client


@pytest.fixture
async def client(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[Client]:
    """What the catalogue's handlers call with."""
    async with calling(memory_broker, keys["catalog"]) as client:
        yield client


@pytest.fixture
async def seen(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[list[Call]]:
    """Requests to the auth service, which answers them."""
    calls: list[Call] = []

    async def list_revocations(request: ListRevocations) -> RevocationList:
        calls.append(current_call.get())
        return RevocationList(data=[])

    async with serving(memory_broker, keys["auth"], {ListRevocations: list_revocations}):
        yield calls


@pytest.fixture
def overdue() -> Iterator[None]:
    """Answer a request whose deadline has passed."""
    token = current_call.set(Call("bridge", "message-7", "correlation-7", time() - 1))
    yield
    current_call.reset(token)


@asynccontextmanager
async def catalogue(
    broker: MemoryUnderTest, keys: Keys, before_it_answers: Callable[[], Awaitable[object]]
) -> AsyncIterator[Worker]:
    """Run a catalogue service that does something else before it answers."""

    async def get_product(request: GetProduct) -> Product:
        await before_it_answers()
        return LAMP

    async with serving(broker, keys["catalog"], {GetProduct: get_product}) as worker:
        yield worker


async def test_a_handlers_call_has_the_deadline_and_the_correlation_id_of_what_it_answers(
    memory_broker: MemoryUnderTest,
    keys: Keys,
    bridge: Client,
    client: Client,
    user: AccessToken,
    seen: list[Call],
) -> None:
    async def ask_patiently() -> None:
        await client.call(ListRevocations(), timeout_s=60)

    latest = time() + 3
    async with catalogue(memory_broker, keys, ask_patiently):
        await bridge.call(GET_LAMP, timeout_s=3, correlation_id="correlation-7", user=user)

    assert seen[0].correlation_id == "correlation-7"
    assert seen[0].deadline < latest + 1


async def test_an_error_of_the_called_service_is_the_callers_answer(
    memory_broker: MemoryUnderTest, keys: Keys, bridge: Client, client: Client, user: AccessToken
) -> None:
    async def fail(request: ListRevocations) -> RevocationList:
        raise ProductNotFound("no product 7")

    async def ask() -> None:
        await client.call(ListRevocations())

    async with (
        serving(memory_broker, keys["auth"], {ListRevocations: fail}),
        catalogue(memory_broker, keys, ask) as worker,
    ):
        with pytest.raises(ProductNotFound, match="no product 7"):
            await bridge.call(GET_LAMP, user=user)

    assert worker.counts == {"product_not_found": 1}  # no bug, so no dead letter


async def test_a_handler_whose_time_is_up_sends_nothing(
    memory_broker: MemoryUnderTest, client: Client, overdue: None
) -> None:
    with pytest.raises(ReplyTimeout):
        await client.call(ListRevocations())

    assert await memory_broker.depth(rpc_queue("auth")) == 0


async def test_what_goes_on_after_the_answer_has_its_own_time(
    memory_broker: MemoryUnderTest,
    keys: Keys,
    bridge: Client,
    client: Client,
    user: AccessToken,
    seen: list[Call],
) -> None:
    answered = asyncio.Event()
    later: list[asyncio.Task[None]] = []

    async def ask_later() -> None:
        await answered.wait()
        await client.call(ListRevocations(), timeout_s=60)

    async def begin() -> None:
        later.append(asyncio.create_task(ask_later()))

    async with catalogue(memory_broker, keys, begin):
        await bridge.call(GET_LAMP, timeout_s=3, correlation_id="correlation-7", user=user)
        answered.set()
        await later[0]

    assert seen[0].correlation_id != "correlation-7"
    assert seen[0].deadline > time() + 30
