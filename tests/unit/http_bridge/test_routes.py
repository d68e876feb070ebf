"""The table of routes: what a line of it does, and which line answers a path."""

from collections.abc import AsyncIterator

import pytest
from pydantic import Field

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers
from http_bridge.documents.openapi import build_document
from http_bridge.routes.backend import HandlerRoute
from http_bridge.routes.routing import ContractRoute, Route, Router
from http_bridge.routes.table import shown
from http_bridge.settings import BridgeSettings
from postroad.contracts.base import Request
from postroad.contracts.catalog import GetProduct, ListProducts, ProductPage
from postroad.contracts.errors import ProductNotFound
from postroad.contracts.message import Message
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.testing import calling, make_keys, serving
from postroad.testing.keys import token_text
from postroad.topology.services import Services
from tests.support.bridges import ROUTES, SERVICES, ask, make_bridge
from tests.support.brokers import MemoryUnderTest
from tests.support.scraping import Scrape


class Stock(Message):
    """How many there are."""

    product_id: int
    warehouse: str
    count: int


class GetStock(
    Request[Stock],
    method="catalog.stock.get",
    scope="catalog:read",
    errors=(ProductNotFound,),
):
    """How many there are of a product, in one warehouse."""

    product_id: int = Field(ge=1)
    warehouse: str = "north"


class SetStock(Request[Stock], method="catalog.stock.set", scope="catalog:read"):
    """Correct how many there are."""

    product_id: int = Field(ge=1)
    warehouse: str = "north"
    count: int = Field(ge=0)


STOCK = "/products/{product_id}/stock"
NEW: tuple[Route, ...] = (
    ContractRoute("GET", "/products/{product_id}/stock", GetStock, link="stock"),
    ContractRoute("POST", "/products/{product_id}/stock", SetStock, wrapped=True),
)


async def get_stock(request: GetStock) -> Stock:
    if request.product_id != 7:
        raise ProductNotFound(f"no product {request.product_id}")
    return Stock(product_id=7, warehouse=request.warehouse, count=3)


async def set_stock(request: SetStock) -> Stock:
    return Stock(product_id=request.product_id, warehouse=request.warehouse, count=request.count)


@pytest.fixture(scope="module")
def services(services: Services) -> Services:
    """Let the bridge pass on what the new lines name."""
    bridge = services.root["bridge"]
    more = bridge.model_copy(update={"calls": (*bridge.calls, "catalog.*")})
    return Services(services.root | {"bridge": more})


@pytest.fixture(scope="module")
def keys(services: Services) -> dict[str, KeyRing]:
    """Keys that know of it; those of the whole session may be made already."""
    return make_keys(services)


@pytest.fixture(scope="module")
def identities(keys: dict[str, KeyRing]) -> dict[str, Identity]:
    return {name: ring.identity for name, ring in keys.items()}


@pytest.fixture
async def bridge(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Bridge]:
    """A bridge whose table has the new lines, and a worker that answers them."""
    handlers: Handlers = {
        GetStock: get_stock,
        SetStock: set_stock,
        ListProducts: list_nothing,
    }
    async with (
        serving(memory_broker, keys["catalog"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        user = memory_broker.as_user("bridge")
        yield make_bridge(user, keys["bridge"], client=client, routes=(*ROUTES, *NEW))


async def list_nothing(_: ListProducts) -> ProductPage:
    return ProductPage(data=[], total=0, skip=0, limit=0)


@pytest.fixture
def signed_in(identities: dict[str, Identity]) -> Headers:
    return [(b"authorization", f"Bearer {token_text(identities['auth'])}".encode())]


# one line of the table


async def test_one_line_passes_a_contract_on_and_its_reply_back(
    bridge: Bridge, signed_in: Headers
) -> None:
    found = await ask(bridge, "GET", "/products/7/stock", query=b"warehouse=s", headers=signed_in)
    unknown = await ask(bridge, "GET", "/products/8/stock", headers=signed_in)

    assert (found.status, found.body) == (200, b'{"product_id":7,"warehouse":"s","count":3}')
    assert found.headers[b"cache-control"] == b"private, no-store"
    assert b"server-timing" in found.headers
    assert (unknown.status, unknown.json()["code"]) == (404, "product_not_found")


async def test_one_line_asks_for_a_token_before_it_looks_at_anything(bridge: Bridge) -> None:
    answers = [
        await ask(bridge, method, "/products/none/stock", body=b"{") for method in ("GET", "POST")
    ]

    assert [answer.status for answer in answers] == [401, 401]


async def test_no_cache_keeps_that_there_is_nothing_for_this_user(
    bridge: Bridge, signed_in: Headers
) -> None:
    answer = await ask(bridge, "GET", "/products", headers=signed_in)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers[b"cache-control"] == b"private, no-store"


async def test_one_line_is_linked_counted_and_documented(
    bridge: Bridge, signed_in: Headers
) -> None:
    await ask(bridge, "GET", "/products/7/stock", headers=signed_in)
    await ask(bridge, "GET", "/products/8/stock", headers=signed_in)

    about = await ask(bridge, "GET", "/")
    document = await ask(bridge, "GET", "/openapi.json")
    counted = Scrape.of(bridge.metrics())

    assert about.json()["links"]["stock"] == STOCK
    for status in ("200", "404"):
        labels = {"route": STOCK, "method": "GET", "status": status}
        assert counted.value("postroad_http_requests_total", **labels) == 1
    operation = document.json()["paths"][STOCK]["get"]
    assert operation["operationId"] == "catalog.stock.get"
    assert operation["summary"] == "How many there are of a product, in one warehouse"
    assert [(each["name"], each["in"]) for each in operation["parameters"]] == [
        ("product_id", "path"),
        ("warehouse", "query"),
    ]
    assert operation["responses"]["404"]["description"] == "`product_not_found`"
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Stock"
    }
    assert operation["security"] == [{"bearer": []}, {"cookie": []}]


# where fields come from


async def test_what_the_path_does_not_name_comes_from_the_body_of_a_post(
    bridge: Bridge, signed_in: Headers
) -> None:
    headers = [*signed_in, (b"content-type", b"application/json")]
    body = b'{"count":5,"product_id":9}'

    answer = await ask(bridge, "POST", "/products/7/stock", headers=headers, body=body)

    assert answer.json() == {"data": {"product_id": 7, "warehouse": "north", "count": 5}}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "body: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b"[]", "body: Input should be an object"),
        (b'{"count":-1}', "count: Input should be greater than or equal to 0"),
        (b"{}", "count: Field required"),
    ],
)
async def test_a_body_that_breaks_the_contract_is_400_and_says_where(
    bridge: Bridge, signed_in: Headers, body: bytes, detail: str
) -> None:
    headers = [*signed_in, (b"content-type", b"application/json")]

    answer = await ask(bridge, "POST", "/products/7/stock", headers=headers, body=body)

    assert (answer.status, answer.json()["detail"]) == (400, detail)


async def test_a_body_that_is_not_json_is_415_and_a_long_one_413(
    bridge: Bridge, signed_in: Headers
) -> None:
    path, headers = "/products/7/stock", [*signed_in, (b"content-type", b"application/json")]

    assert (await ask(bridge, "POST", path, headers=signed_in, body=b"{}")).status == 415
    assert (await ask(bridge, "POST", path, headers=headers, body=b" " * 20_000)).status == 413


async def test_a_post_with_a_cookie_is_not_taken_from_another_site(
    bridge: Bridge, identities: dict[str, Identity]
) -> None:
    cookie = f"token={token_text(identities['auth'])}".encode()
    headers = [(b"cookie", cookie), (b"sec-fetch-site", b"cross-site")]

    answer = await ask(bridge, "POST", "/products/7/stock", headers=headers, body=b"{}")

    assert (answer.status, answer.json()["code"]) == (403, "cross_site")


def test_the_body_of_a_post_is_documented_without_what_the_path_names() -> None:
    document = build_document(NEW)

    operation = document["paths"][STOCK]["post"]
    body = document["components"]["schemas"]["SetStock"]
    assert [each["in"] for each in operation["parameters"]] == ["path"]
    assert operation["requestBody"]["required"]
    assert list(body["properties"]) == ["warehouse", "count"]
    assert body["required"] == ["count"]
    assert operation["responses"].keys() >= {"400", "403", "413", "415"}


# which route answers a path


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/products", "/products"),
        ("/products/", "/products"),
        ("/products//", "/products"),
        ("/products/7", "/products/{product_id}"),
        ("/products/" + "9" * 5000, "/products/{product_id}"),
        ("/products/7/", None),
        ("/products/sync", "/products/sync"),
        ("/products/sync/", "/products/sync"),
        ("/products/sync/7", "/products/sync/{sync_id}"),
        ("/products/sync/stock", "/products/sync/{sync_id}"),
        ("/products/7/stock", STOCK),
        ("/products//stock", None),
        ("/products/sync/7/8", None),
        ("/products/{product_id}/x", None),
        ("/page/main.js", "/page/main.js"),
        ("/page/index.html", None),
        ("/nowhere", None),
        ("/nowhere/", None),
        ("//", None),
        ("", None),
        ("*", None),
        ("/../etc/passwd", None),
        ('/"}\n', None),
    ],
)
def test_a_path_is_answered_by_its_route(path: str, route: str | None) -> None:
    resource, _ = Router((*NEW, *ROUTES)).find(path)

    assert (resource.path if resource else None) == route


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/products/7/stock", b"GET, HEAD, POST"), ("/healthz", b"GET, HEAD"), ("/auth", b"POST")],
)
async def test_a_method_that_is_not_in_the_table_is_405_and_names_those_that_are(
    bridge: Bridge, path: str, allowed: bytes
) -> None:
    answer = await ask(bridge, "DELETE", path)

    assert (answer.status, answer.headers[b"allow"]) == (405, allowed)
    assert answer.json()["detail"] == f"use {allowed.decode()}"


async def test_what_is_wrong_with_a_query_as_a_whole_is_said_of_the_query(
    bridge: Bridge, signed_in: Headers
) -> None:
    both = await ask(bridge, "GET", "/products", query=b"q=a&category=b", headers=signed_in)

    assert both.status == 400
    assert both.json()["detail"] == "query: give q or category, not both"


async def test_whatever_is_asked_there_are_few_labels(bridge: Bridge) -> None:
    for number in range(300):
        await ask(bridge, f"METHOD{number}", f"/{number}/{number}")

    scraped = Scrape.of(bridge.metrics())

    assert scraped.value("postroad_http_requests_total", route="other", method="other") == 300
    assert scraped.labels("postroad_http_requests_total", "route") == {"other"}


# what a table may not say


def test_a_route_is_in_the_table_once() -> None:
    with pytest.raises(ValueError, match="GET /products is in the table twice"):
        Router((*ROUTES, ContractRoute("GET", "/products", ListProducts)))


def test_a_path_names_fields_of_its_contract() -> None:
    with pytest.raises(ValueError, match="GetProduct has no field 'id'"):
        ContractRoute("GET", "/products/{id}", GetProduct)


def test_every_documented_handler_has_a_summary() -> None:
    document = build_document(ROUTES)

    operations = [each for path in document["paths"].values() for each in path.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_the_services_to_be_ready_for_are_those_of_the_contracts() -> None:
    assert SERVICES == ("auth", "catalog")


@pytest.mark.parametrize("path", ["/docs", "/docs/messages", "/docs/start.js"])
async def test_no_other_page_shows_the_documents_within_itself(bridge: Bridge, path: str) -> None:
    policy = (await ask(bridge, "GET", path)).headers[b"content-security-policy"].decode()

    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(
        policy.split("; ")
    )
    assert "script-src 'unsafe" not in policy


async def test_the_documents_can_be_hidden(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS", "off")
    routes = shown(ROUTES, has_docs=BridgeSettings().docs)
    bridge = make_bridge(memory_broker.as_user("bridge"), keys["bridge"], routes=routes)

    paths = ["/docs", "/docs/start.js", "/docs/messages", "/openapi.json", "/asyncapi.json"]
    assert [(await ask(bridge, "GET", path)).status for path in paths] == [404] * 5
    links = (await ask(bridge, "GET", "/")).json()["links"]
    assert links.keys() & {"docs", "openapi", "messages", "asyncapi"} == set()
    assert "products" in links


def test_only_what_is_in_the_table_is_in_the_document() -> None:
    shown = {route.path for route in ROUTES if isinstance(route, HandlerRoute) and not route.gives}

    assert not shown & build_document(ROUTES)["paths"].keys()
