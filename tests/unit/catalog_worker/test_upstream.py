"""Products from an API of another's making: the sample one, and ones that are not so kind."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from starlette.applications import Starlette

from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from postroad.contracts.catalog import Category, ListProducts, Product
from postroad.contracts.errors import UpstreamFailed
from postroad.limits import MESSAGE_MAX_BYTES
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


def test_a_bad_product_is_dropped_and_named_and_the_page_kept() -> None:
    bad: list[object] = [{"id": 9}, None, {**VASE, "price": "a lot"}, {**VASE, "id": None}, []]

    with (
        asking(page(LAMP, *bad, VASE, total=50)) as (upstream, _),
        structlog.testing.capture_logs() as logged,
    ):
        answer = upstream.list(ListProducts()).value

    assert [product.id for product in answer.data] == [7, 8]
    assert (answer.total, answer.limit) == (50, 2)
    assert [line["event"] for line in logged] == ["bad product dropped"] * len(bad)
    assert [line["id"] for line in logged] == [9, None, 8, None, None]
    assert logged[0]["reason"] == (
        "title: Field required; price: Field required; description: Field required"
    )
    assert logged[2]["reason"].startswith("price: ")
    assert logged[3]["reason"].startswith("id: ")


def test_more_products_than_asked_for_are_cut() -> None:
    with asking(page(LAMP, VASE, LAMP)) as (upstream, _):
        answer = upstream.list(ListProducts(limit=2)).value

    assert [product.id for product in answer.data] == [7, 8]
    assert answer.limit == 2


def test_an_empty_page_is_a_page() -> None:
    with asking(page()) as (upstream, _):
        answer = upstream.list(ListProducts()).value

    assert (answer.data, answer.total, answer.limit) == ([], 0, 0)


def test_the_only_product_of_a_page_may_be_a_bad_one() -> None:
    with asking(page({"id": 9}, total=50)) as (upstream, _):
        answer = upstream.list(ListProducts(limit=1)).value
        listed = upstream.page(skip=0, limit=1)

    assert (answer.data, answer.total, answer.limit) == ([], 50, 0)
    assert (listed.products, listed.total) == ([], 50)
    assert [each.id for each in listed.dropped] == [9]


def test_a_page_of_the_whole_listing_says_what_was_dropped() -> None:
    with asking(page({"id": 9}, {**LAMP, "price": None}, None, total=50)) as (upstream, _):
        listed = upstream.page(skip=0, limit=100)

    assert (listed.products, listed.total) == ([], 50)
    assert [(each.id, each.reason.partition(":")[0]) for each in listed.dropped] == [
        (9, "title"),
        (7, "price"),
        (None, "body"),
    ]


BAD_NUMBERS = {
    "digits": b"9" * 5000,
    "exponent": b"1e999",
    "NaN": b"NaN",
    "-Infinity": b"-Infinity",
    "fraction": b"0.5",
}


@pytest.mark.parametrize("number", BAD_NUMBERS.values(), ids=BAD_NUMBERS)
@pytest.mark.parametrize("field", ["id", "stock"])
def test_a_number_that_is_none_spoils_its_own_product_only(field: str, number: bytes) -> None:
    good, bad = json.dumps(LAMP).encode(), json.dumps({**VASE, field: 1234}).encode()
    body = b'{"products":[%s,%s],"total":2}' % (good, bad.replace(b"1234", number))

    with asking(says(response(body=body))) as (upstream, _):
        listed = upstream.page(skip=0, limit=10)

    assert [product.id for product in listed.products] == [7]
    assert [each.reason.partition(":")[0] for each in listed.dropped] == [field]


def test_what_one_product_nests_deeply_spoils_no_page() -> None:
    deep = b'{"id":8,"title":"Vase","price":3,"description":"","x":%s}' % (b"[" * 900 + b"]" * 900)
    body = b'{"products":[%s,%s],"total":2}' % (json.dumps(LAMP).encode(), deep)

    with asking(says(response(body=body))) as (upstream, _):
        listed = upstream.page(skip=0, limit=10)

    assert [product.id for product in listed.products] == [7, 8]


def test_a_bad_category_is_dropped_and_the_others_kept() -> None:
    with (
        asking(says_json([{"slug": "a", "name": "A"}, {"slug": "b"}, None])) as (upstream, _),
        structlog.testing.capture_logs() as logged,
    ):
        categories = upstream.categories().value

    assert categories.data == [Category(slug="a", name="A")]
    assert [line["event"] for line in logged] == ["bad category dropped"] * 2


TITLES = {
    r"Pot \ud83c": "Pot \ufffd",
    r"\udf00 Pot": "\ufffd Pot",
    r"\uD83C\uD83C\uDF00": "\ufffd\U0001f300",
    r"\ud83c\u0041": "\ufffdA",
    r"Pot \ud83c\udf00": "Pot \U0001f300",
    r"C:\\ud83c \u00e9 \"\n": 'C:\\ud83c \xe9 "\n',  # no half of anything
    r"\\\ud83c": "\\\ufffd",
    "a\nb\x00": "a\nb\x00",  # as no JSON is written, and some is
}


@pytest.mark.parametrize(("sent", "read"), TITLES.items(), ids=TITLES)
def test_half_a_character_is_read_as_a_replacement(sent: str, read: str) -> None:
    body = f'{{"id":7,"title":"{sent}","price":1,"description":""}}'.encode()

    with asking(says(response(body=body))) as (upstream, _):
        product = upstream.find(7).value

    assert product is not None
    assert product.title == read
    assert product.as_json


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (b"\xef\xbb\xbf" + b'{"id":7,"title":"P\xc3\xb6t","price":1,"description":""}', "P\xf6t"),
        ('{"id":7,"title":"P\xf6t","price":1,"description":""}'.encode("utf-16"), "P\xf6t"),
        ('{"id":7,"title":"P\xf6t","price":1,"description":""}'.encode("utf-32"), "P\xf6t"),
        ('{"id":7,"title":"P\xf6t","price":1,"description":""}'.encode("utf-16-le"), "P\xf6t"),
        (b'{"id":7,"title":"Pot \xf0\x9f\x8c","price":1,"description":""}', "Pot \ufffd"),
        (b'{"id":7,"title":"P\xf6t","price":1,"description":""}', "P\ufffdt"),
    ],
    ids=["BOM", "UTF-16", "UTF-32", "UTF-16 without BOM", "cut", "Latin-1"],
)
def test_an_answer_may_be_in_any_encoding_of_json(body: bytes, title: str) -> None:
    with asking(says(response(body=body))) as (upstream, _):
        product = upstream.find(7).value

    assert product is not None
    assert product.title == title


def test_an_answer_that_no_reply_holds_is_too_much() -> None:
    fits = MESSAGE_MAX_BYTES - 200
    large = {**LAMP, "description": "x" * fits}
    larger = {**LAMP, "description": "x" * (fits + 200)}

    with asking(says_json(large)) as (upstream, server):
        assert upstream.find(7).value == Product.model_validate(large)
        server.script = says_json(larger)
        with pytest.raises(UpstreamFailed, match=r"^the product source answered too much$"):
            upstream.find(7)
        server.script = page(larger)
        with pytest.raises(UpstreamFailed, match=r"^the product source answered too much$"):
            upstream.list(ListProducts())
        assert upstream.page(skip=0, limit=1).products  # which nobody sends on


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no JSON: Expecting value: line 1 column 1"),
        (b"<html>", "no JSON: Expecting value: line 1 column 1"),
        (b"[" * 100_000, "no JSON: nested too deeply"),
        (b'{"id":7,"title":"Pot","description":""}', "price: Field required"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, why: str) -> None:
    with (
        asking(says(response(body=body))) as (upstream, _),
        structlog.testing.capture_logs() as logged,
        pytest.raises(UpstreamFailed, match=f"^the product source answered nonsense: {why}"),
    ):
        upstream.find(7)

    assert logged[0]["reason"].startswith(why)


@pytest.mark.parametrize(
    "script",
    [
        page({"id": 9}, {"id": 10}),  # they are of another shape
        page(LAMP, total=None),
        says_json({"products": {"7": LAMP}, "total": 1}),
        says_json([LAMP]),
        says_json(None),
        says(response(body=b"")),
        says(response(body=b'{"products": [')),
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
