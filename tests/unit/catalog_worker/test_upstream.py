"""Products from an API of another's making: the sample one, and ones that are not so kind."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from starlette.applications import Starlette

from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from postroad.contracts.catalog import Category, ListProducts, Product
from postroad.contracts.errors import UpstreamFailed
from sample_api.catalogue import bundled_products
from tests.support.upstreams import (
    Script,
    ScriptedServer,
    response,
    sample_upstream,
    says,
    says_json,
    scripted,
    settings_for,
)

LAMP = {"id": 7, "title": "Lamp", "price": 12.5, "description": "Gives light"}
VASE = {"id": 8, "title": "Vase", "price": 3, "description": "Holds flowers", "brand": None}


def page(*products: object, **changes: object) -> Script:
    return says_json(
        {"products": products, "total": len(products), "skip": 0, "limit": len(products), **changes}
    )


@contextmanager
def asking(script: Script) -> Iterator[tuple[UpstreamCatalog, ScriptedServer]]:
    with scripted(script) as server:
        yield UpstreamCatalog(Fetcher(settings_for(server.url))), server


@pytest.fixture(scope="module")
def sample() -> Iterator[tuple[str, Starlette]]:
    with sample_upstream() as running:
        yield running


@pytest.fixture
def upstream(sample: tuple[str, Starlette]) -> UpstreamCatalog:
    url, _ = sample
    return UpstreamCatalog(Fetcher(settings_for(url)))


# The sample upstream


def test_a_page_is_the_part_of_the_listing_that_was_asked_for(upstream: UpstreamCatalog) -> None:
    page = upstream.list(ListProducts(limit=5, skip=10)).value

    assert [product.id for product in page.data] == [11, 12, 13, 14, 15]
    assert (page.total, page.skip, page.limit) == (120, 10, 5)


def test_the_last_page_says_how_many_it_holds(upstream: UpstreamCatalog) -> None:
    page = upstream.list(ListProducts(limit=100, skip=90)).value

    assert (len(page.data), page.total, page.skip, page.limit) == (30, 120, 90, 30)


def test_every_product_arrives_with_all_its_fields(upstream: UpstreamCatalog) -> None:
    pages = [upstream.list(ListProducts(limit=100, skip=skip)).value for skip in (0, 100)]

    products = [product for page in pages for product in page.data]
    assert products == [Product.model_validate(product) for product in bundled_products()]


def test_a_product_without_a_brand_has_none(upstream: UpstreamCatalog) -> None:
    brands = [product.brand for product in upstream.list(ListProducts(limit=100)).value.data]

    assert None in brands
    assert any(brands)


def test_a_search_in_other_than_ascii_finds_it(upstream: UpstreamCatalog) -> None:
    page = upstream.list(ListProducts(q="jalapeño")).value

    assert [product.title for product in page.data] == ["Jalapeño Hot Honey"]


def test_a_listing_is_filtered_and_sorted(upstream: UpstreamCatalog) -> None:
    books = upstream.list(ListProducts(category="books", limit=100)).value
    dearest = upstream.list(ListProducts(sort_by="price", order="desc", limit=3)).value

    prices = [product.price for product in dearest.data]
    assert {product.category for product in books.data} == {"books"}
    assert prices == sorted(prices, reverse=True)
    assert prices[0] == max(float(str(product["price"])) for product in bundled_products())


def test_one_product_is_found_or_not(upstream: UpstreamCatalog) -> None:
    found = upstream.find(7).value

    assert found == Product.model_validate(bundled_products()[6])
    assert upstream.find(9999).value is None


def test_the_categories_have_a_slug_and_a_name(upstream: UpstreamCatalog) -> None:
    assert Category(slug="books", name="Books") in upstream.categories().value.data


def test_an_answer_that_still_holds_is_given_back(
    upstream: UpstreamCatalog, sample: tuple[str, Starlette]
) -> None:
    page, product = upstream.list(ListProducts()), upstream.find(7)
    categories = upstream.categories()

    assert upstream.list(ListProducts(), page) is page
    assert upstream.find(7, product) is product
    assert upstream.categories(categories) is categories


def test_an_answer_that_no_longer_holds_is_replaced(upstream: UpstreamCatalog) -> None:
    other = upstream.find(8)

    product = upstream.find(7, other)

    assert product.value is not None
    assert product.value.id == 7
    assert product.etag not in {None, other.etag}


# Another's quirks


def test_only_the_fields_of_the_contract_are_asked_for() -> None:
    with asking(page(LAMP)) as (upstream, server):
        upstream.list(ListProducts())

    (asked,) = server.asked
    assert asked.path == (
        "/products?limit=30&skip=0&select=id%2Ctitle%2Cbrand%2Cprice%2Cdescription"
        "%2Ccategory%2Cthumbnail%2Crating%2Cstock"
    )


def test_an_absent_or_null_brand_is_none_and_a_null_skip_ours() -> None:
    with asking(page(LAMP, VASE, skip=None, limit=None)) as (upstream, _):
        answer = upstream.list(ListProducts(skip=3)).value

    assert [product.brand for product in answer.data] == [None, None]
    assert (answer.skip, answer.limit) == (3, 2)


def test_a_bad_product_is_dropped_and_counted_and_the_page_kept() -> None:
    bad: list[object] = [{"id": 9}, None, {**VASE, "price": "a lot"}, {**VASE, "id": None}, []]

    with (
        asking(page(LAMP, *bad, VASE, total=50)) as (upstream, _),
        structlog.testing.capture_logs() as logged,
    ):
        answer = upstream.list(ListProducts()).value

    assert [product.id for product in answer.data] == [7, 8]
    assert (answer.total, answer.limit) == (50, 2)
    assert [line["event"] for line in logged] == ["bad product dropped"] * len(bad)


def test_more_products_than_asked_for_are_cut() -> None:
    with asking(page(LAMP, VASE, LAMP)) as (upstream, _):
        answer = upstream.list(ListProducts(limit=2)).value

    assert [product.id for product in answer.data] == [7, 8]
    assert answer.limit == 2


def test_an_empty_page_is_a_page() -> None:
    with asking(page()) as (upstream, _):
        answer = upstream.list(ListProducts()).value

    assert (answer.data, answer.total, answer.limit) == ([], 0, 0)


@pytest.mark.parametrize(
    "script",
    [
        page({"id": 9}, {"id": 10}),  # not one product is readable
        page(LAMP, total=None),
        says_json({"products": {"7": LAMP}, "total": 1}),
        says_json([LAMP]),
        says_json(None),
        says(response(body=b"")),
        says(response(body=b'{"products": [')),
        says(response(body='{"products": [], "total": 0, "é": 1}'.encode("latin-1"))),
        says(response(body=b"[" * 100_000)),
        says(response(404, b'{"message":"no such path"}')),
        says(response(304, b"")),
    ],
)
def test_nonsense_is_a_failure_and_not_asked_for_again(script: Script) -> None:
    with asking(script) as (upstream, server):
        for ask in (lambda: upstream.list(ListProducts()), upstream.categories):
            with pytest.raises(UpstreamFailed):
                ask()

    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "script",
    [
        says_json({"id": 9}),
        says_json({"product": LAMP}),
        says_json([]),
        says(response(body=b"")),
        says(response(304, b"")),  # although there was nothing to compare with
    ],
)
def test_a_malformed_product_is_a_failure_and_not_an_unknown_product(
    script: Script,
) -> None:
    with asking(script) as (upstream, _), pytest.raises(UpstreamFailed):
        upstream.find(7)
