"""Handlers that call other services."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import time

import pytest

from postroad.context import RequestContext, current_context
from postroad.contracts.auth import ListRevocations, RevocationList
from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.errors import ReplyTimeout
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Worker
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.testing import access_token, calling, serving
from postroad.topology.names import rpc_queue
from tests.support.brokers import MemoryUnderTest
from tests.support.services import LAMP

Keys = dict[str, KeyRing]
Something = Callable[[], Awaitable[None]]
Catalogue = Callable[[Something], AbstractAsyncContextManager[Worker]]

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
async def seen(memory_broker: MemoryUnderTest, keys: Keys) -> AsyncIterator[list[RequestContext]]:
    """Requests to the auth service, which answers them."""
    calls: list[RequestContext] = []

    async def list_revocations(request: ListRevocations) -> RevocationList:
        calls.append(current_context.get())
        return RevocationList(data=[])

    async with serving(memory_broker, keys["auth"], {ListRevocations: list_revocations}):
        yield calls


@pytest.fixture
def overdue() -> Iterator[None]:
    """Answer a request whose deadline has passed."""
    token = current_context.set(RequestContext("bridge", "message-7", "correlation-7", time() - 1))
    yield
    current_context.reset(token)


@pytest.fixture
def catalogue(memory_broker: MemoryUnderTest, keys: Keys) -> Catalogue:
    """Run a catalogue service that does something else before it answers."""

    @asynccontextmanager
    async def serving_after(something: Something) -> AsyncIterator[Worker]:
        async def get_product(request: GetProduct) -> Product:
            await something()
            return LAMP

        async with serving(memory_broker, keys["catalog"], {GetProduct: get_product}) as worker:
            yield worker

    return serving_after


async def test_a_handlers_call_inherits_deadline_and_correlation_id(
    catalogue: Catalogue,
    bridge: Client,
    client: Client,
    user: AccessToken,
    seen: list[RequestContext],
) -> None:
    async def ask_patiently() -> None:
        await client.call(ListRevocations(), timeout_s=60)

    latest = time() + 3
    async with catalogue(ask_patiently):
        await bridge.call(GET_LAMP, timeout_s=3, correlation_id="correlation-7", user=user)

    assert seen[0].correlation_id == "correlation-7"
    assert seen[0].deadline < latest + 1


async def test_a_handler_whose_time_is_up_sends_nothing(
    memory_broker: MemoryUnderTest, client: Client, overdue: None
) -> None:
    with pytest.raises(ReplyTimeout):
        await client.call(ListRevocations())

    assert await memory_broker.depth(rpc_queue("auth")) == 0


async def test_what_goes_on_after_the_answer_has_its_own_time(
    catalogue: Catalogue,
    bridge: Client,
    client: Client,
    user: AccessToken,
    seen: list[RequestContext],
) -> None:
    answered = asyncio.Event()
    later: list[asyncio.Task[None]] = []

    async def ask_later() -> None:
        await answered.wait()
        await client.call(ListRevocations(), timeout_s=60)

    async def begin() -> None:
        later.append(asyncio.create_task(ask_later()))

    async with catalogue(begin):
        await bridge.call(GET_LAMP, timeout_s=3, correlation_id="correlation-7", user=user)
        answered.set()
        await later[0]

    assert seen[0].correlation_id != "correlation-7"
    assert seen[0].deadline > time() + 30
