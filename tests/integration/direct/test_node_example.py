"""The example for Node, which uses the TypeScript package, run as its README says."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.contracts.catalog import ListProducts, ProductPage
from postroad.contracts.errors import UpstreamBusy
from postroad.security.keyring import KeyRing
from postroad.testing import serving
from tests.integration.direct.conftest import ServiceFiles
from tests.support.brokers import RabbitUnderTest
from tests.support.services import LAMP
from tests.support.typescript import TIMEOUT_S, Workspace, needs_npm

pytestmark = [pytest.mark.integration, needs_npm]


@pytest.fixture
def example(typescript: Workspace) -> Path:
    return typescript.example


@asynccontextmanager
async def script(folder: Path, *arguments: str, files: ServiceFiles) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *("node", *arguments), cwd=folder, env=files.with_others(), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(folder: Path, *arguments: str, files: ServiceFiles) -> tuple[int, str, str]:
    async with script(folder, *arguments, files=files) as process:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        return process.returncode or 0, output.decode(), errors.decode()


async def test_it_calls_a_service(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    asked: list[ListProducts] = []

    async def list_products(request: ListProducts) -> ProductPage:
        asked.append(request)
        lamp = LAMP.model_copy(update={"title": "Stehlampe, weiß"})
        return ProductPage(data=[lamp], total=1, skip=0, limit=request.limit)

    async with serving(rabbit_broker, keys["catalog"], {ListProducts: list_products}):
        status, output, errors = await run(example, "dist/list-products.js", "3", files=shop)

    assert (status, output, errors) == (0, "7\t12.5\tStehlampe, weiß\n", "")
    assert asked == [ListProducts(limit=3)]


async def test_it_says_which_error_a_service_answered(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    async def refuse(request: ListProducts) -> ProductPage:
        raise UpstreamBusy("later, please")

    async with serving(rabbit_broker, keys["catalog"], {ListProducts: refuse}):
        status, output, errors = await run(example, "dist/list-products.js", files=shop)

    assert (status, output, errors) == (1, "", "upstream_busy: later, please\n")


LOST = "postroad: broker connection lost "


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        (
            ["list-products.js"],
            {"TRUST_FILE": "", "BROKER_URLS": ""},
            "postroad: BROKER_URLS is not set; TRUST_FILE is not set",
        ),
        (
            ["list-products.js"],
            {"BROKER_URLS": "amqp://localhost:1/x, amqp://127.0.0.1:1/x"}
            | {"BROKER_CONNECT_TIMEOUT_S": "0.2"},
            "unavailable: the message broker is away",
        ),
        (
            ["list-products.js"],
            {"TRUST_FILE": "/nowhere"},
            "postroad: ENOENT: no such file or directory, open '/nowhere'",
        ),
        (
            ["listen.js", "auth.login.*", "catalog.*"],
            {},
            "not_authorised: shop may not listen to catalog.product.added",
        ),
        (["listen.js"], {}, "postroad: no event is named "),
    ],
)
async def test_what_keeps_it_from_its_work_is_one_sentence(
    example: Path, shop: ServiceFiles, arguments: list[str], changes: dict[str, str], said: str
) -> None:
    files = ServiceFiles(shop.environment | changes)
    name, *others = arguments

    status, output, errors = await run(example, f"dist/{name}", *others, files=files)

    assert (status, output) == (1, "")
    assert [line for line in errors.splitlines() if not line.startswith(LOST)] == [said]
