"""``raising_bugs``: what a worker keeps from its caller is raised in the test."""

import pytest

from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.errors import InternalError, InvalidRequest, ProductNotFound, UpstreamFailed
from postroad.contracts.syncs import FetchPage
from postroad.security.keyring import KeyRing
from postroad.testing import (
    MemoryBroker,
    access_token,
    calling,
    eventually,
    raising_bugs,
    read_body,
    send,
    serving,
    working,
)
from postroad.topology.definitions import Definitions

Keys = dict[str, KeyRing]


async def ask(broker: MemoryBroker, keys: Keys, error: Exception) -> None:
    """Ask a handler that raises an error."""

    async def get_product(_: GetProduct) -> Product:
        raise error

    user = access_token(keys["bridge"], keys["auth"].identity)
    async with (
        serving(broker, keys["catalog"], {GetProduct: get_product}),
        calling(broker, keys["bridge"]) as client,
    ):
        await client.call(GetProduct(product_id=7), user=user)


async def test_a_bug_is_raised_in_place_of_what_the_caller_was_told(
    topology: Definitions, keys: Keys
) -> None:
    broker, bug = MemoryBroker(topology), ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError) as raised:
        async with raising_bugs():
            await ask(broker, keys, bug)

    assert raised.value is bug


async def test_an_error_that_the_caller_was_told_is_the_callers(
    topology: Definitions, keys: Keys
) -> None:
    with pytest.raises(ProductNotFound):
        async with raising_bugs():
            await ask(MemoryBroker(topology), keys, ProductNotFound("no product 7"))


async def test_afterwards_a_worker_keeps_its_bugs_to_itself(
    topology: Definitions, keys: Keys
) -> None:
    async with raising_bugs():
        pass

    with pytest.raises(InternalError):
        await ask(MemoryBroker(topology), keys, ZeroDivisionError())


async def test_each_error_on_which_a_job_failed_is_raised(
    topology: Definitions, keys: Keys
) -> None:
    def fetch_page(_: FetchPage) -> None:
        raise UpstreamFailed("no answer")

    async def work() -> None:
        broker = MemoryBroker(topology)
        async with (
            raising_bugs(),
            working(broker, keys["catalog"], "sync", {FetchPage: fetch_page}) as worker,
        ):
            await send(broker, keys["catalog"], FetchPage(sync_id="s", skip=0, limit=1))
            await eventually(lambda: worker.settled)

    with pytest.raises(UpstreamFailed, match="no answer"):
        await work()


def test_a_body_that_breaks_its_contract_is_refused_in_the_workers_words() -> None:
    with pytest.raises(InvalidRequest, match=r"^sync_id: Field required; skip: Input should be"):
        read_body(FetchPage, {"skip": -1, "limit": 1})
