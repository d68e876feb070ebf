"""Python services and scripts of other teams, against the real broker."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.contracts.auth import ListRevocations
from postroad.contracts.catalog import GetProduct, ListProducts, Product, ProductPage
from postroad.contracts.errors import NotAuthorised, ProductNotFound, Unavailable
from postroad.messaging.rpc_worker import Handlers, Worker
from postroad.runtime.blocking import BlockingClient
from postroad.runtime.connect import connect
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, KeyFileError
from postroad.security.rotation import rotate, trust_rotated
from postroad.settings import SettingsError
from postroad.testing import eventually, serving
from tests.integration.direct.conftest import ServiceFiles
from tests.support.auth import at_once
from tests.support.brokers import RabbitUnderTest
from tests.support.services import LAMP

pytestmark = pytest.mark.integration

THREADS = 8
CALLS_EACH = 25
SCRIPT = """\
from postroad.contracts.catalog import ListProducts
from postroad import BlockingClient

with BlockingClient() as client:
    page = client.call(ListProducts(limit=5))
for product in page.data:
    print(product.id, product.title)
"""


async def get_product(request: GetProduct) -> Product:
    if request.product_id == 404:
        raise ProductNotFound("no product 404")
    return LAMP.model_copy(update={"id": request.product_id})


async def list_products(request: ListProducts) -> ProductPage:
    return ProductPage(data=[LAMP], total=1, skip=0, limit=request.limit)


@pytest.fixture
async def worker(rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Worker]:
    handlers: Handlers = {GetProduct: get_product, ListProducts: list_products}
    async with serving(rabbit_broker, keys["catalog"], handlers, prefetch=50) as worker:
        yield worker


async def test_eight_threads_share_a_client_and_get_each_their_own_replies(
    worker: Worker, shop: ServiceFiles
) -> None:
    def call(client: BlockingClient, thread: int) -> list[int]:
        wanted = range(1 + thread * CALLS_EACH, 1 + (thread + 1) * CALLS_EACH)
        return [client.call(GetProduct(product_id=number)).id - number for number in wanted]

    def run() -> list[list[int] | Exception]:
        with BlockingClient(shop.settings()) as client:
            return at_once(THREADS, lambda thread: call(client, thread))

    assert await asyncio.to_thread(run) == [[0] * CALLS_EACH] * THREADS
    await eventually(lambda: worker.counts["ok"] == THREADS * CALLS_EACH)  # once confirmed


async def test_a_script_needs_its_environment_and_six_lines(
    worker: Worker, shop: ServiceFiles, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[3])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script)),
        env=shop.with_others() | {"PYTHONPATH": root},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 0
    assert output.decode() == "7 Lamp\n"  # what the library logs goes elsewhere


async def test_an_async_service_calls_and_is_told_of_errors(
    worker: Worker, shop: ServiceFiles
) -> None:
    async with connect(shop.settings()) as client:
        product = await client.call(GetProduct(product_id=7))
        with pytest.raises(ProductNotFound, match="no product 404"):
            await client.call(GetProduct(product_id=404))

    assert product == LAMP


async def test_a_call_that_was_not_granted_takes_no_other_along(
    worker: Worker, shop: ServiceFiles
) -> None:
    async with connect(shop.settings()) as client:
        for _ in range(3):
            with pytest.raises(NotAuthorised, match=r"shop may not call auth\.revocations\.list"):
                await client.call(ListRevocations())

            assert await client.call(GetProduct(product_id=7)) == LAMP


async def test_rights_that_are_widened_while_it_runs_are_used(
    worker: Worker, shop: ServiceFiles, keys: dict[str, KeyRing]
) -> None:
    settings, trust = shop.settings(), keys["shop"].trust
    before = trust.services["shop"].model_copy(update={"calls": ("catalog.products.list",)})
    narrow = trust.model_copy(update={"services": trust.services | {"shop": before}})
    settings.trust_file.write_text(narrow.model_dump_json())

    async with connect(settings) as client:
        with pytest.raises(NotAuthorised):
            await client.call(GetProduct(product_id=7))
        settings.trust_file.write_text(trust.model_dump_json())
        await eventually(lambda: client._keys.generation > 0 and client._keys.trust == trust)

        assert await client.call(GetProduct(product_id=7)) == LAMP


async def test_new_keys_are_taken_up_while_it_runs(
    worker: Worker, shop: ServiceFiles, keys: dict[str, KeyRing]
) -> None:
    settings = shop.settings()
    async with connect(settings) as client:
        renewed = rotate(keys["shop"].identity)
        now = Identity(
            service="shop",
            keys=tuple(key.model_copy(update={"active_from": 0.0}) for key in renewed.keys),
        )
        trust = trust_rotated(keys["shop"].trust, now)
        catalog = worker._admission._keys
        catalog.renew(catalog.identity, trust)  # it accepts the new keys, and the old ones
        now.save(settings.identity_file)
        settings.trust_file.write_text(trust.model_dump_json())

        await eventually(lambda: client._signer._keys.generation > 0)

        assert (await client.call(GetProduct(product_id=7))) == LAMP


async def test_without_a_broker_calls_fail_at_once_and_it_comes_back(
    worker: Worker, shop: ServiceFiles, rabbit_broker: RabbitUnderTest
) -> None:
    url = f"amqp://127.0.0.1:{rabbit_broker._proxies['shop'].port}/{rabbit_broker.vhost}"
    await rabbit_broker.lose("shop")
    settings = shop.settings().model_copy(
        update={"broker_urls": (url,), "broker_connect_timeout_s": 0.2}
    )

    async with connect(settings) as client:
        with pytest.raises(Unavailable, match="the message broker is away"):
            await client.call(GetProduct(product_id=7))
        await rabbit_broker._proxies["shop"].open()
        assert await client.opened(10)

        assert await client.call(GetProduct(product_id=7)) == LAMP


async def test_a_missing_key_file_is_named(shop: ServiceFiles, tmp_path: Path) -> None:
    settings = shop.settings().model_copy(update={"identity_file": tmp_path / "none.json"})

    with pytest.raises(KeyFileError, match=r"cannot read the identity .*none\.json"):
        async with connect(settings):
            pass


async def test_variables_that_are_missing_or_wrong_are_named_a_line_each(
    shop: ServiceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (shop.environment | {"BROKER_URLS": "http://localhost"}).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("TRUST_FILE")

    with pytest.raises(SettingsError) as problem:
        async with connect():
            pass

    wrong, missing = str(problem.value).splitlines()
    assert wrong.startswith("BROKER_URLS: ")
    assert missing.startswith("TRUST_FILE: is missing")
