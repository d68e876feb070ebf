"""What is answered while upstream is away: what it would have said after the last sync."""

from collections.abc import Iterator
from typing import Any

import pytest

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.stored import StoredCatalog
from catalog_worker.catalog.upstream import UpstreamCatalog
from catalog_worker.handlers import get_product, list_products
from postroad.contracts.catalog import GetProduct, ListProducts, Product
from postroad.contracts.errors import ProductNotFound, ServiceError, UpstreamBusy, UpstreamFailed
from postroad.storage.database import Database
from sample_api.catalogue import bundled_products
from sample_api.faults import Faults
from tests.support.catalog import CatalogUnderTest, make_product
from tests.support.upstreams import answering, sample_upstream, settings_for

LISTINGS: list[dict[str, Any]] = [
    {},
    {"limit": 100, "skip": 90},
    {"skip": 500},
    {"q": "oil"},
    {"q": "SLOW-cooks"},
    {"q": "100%_"},
    {"category": "kitchen", "limit": 3},
    {"category": "nothing"},
    *({"sort_by": field, "limit": 100} for field in ("id", "title", "brand", "price", "category")),
    *({"sort_by": field, "order": "desc"} for field in ("rating", "stock", "brand", "title")),
    {"q": "a", "sort_by": "price", "order": "desc", "skip": 2, "limit": 7},
]
DONE_AT = 1_000_000.0


@pytest.fixture
def synced(catalog: CatalogUnderTest) -> CatalogUnderTest:
    catalog.sync(Product.model_validate(product) for product in bundled_products())
    return catalog


class Away:
    """An upstream that cannot be asked."""

    def __init__(self, error: ServiceError) -> None:
        self.error = error

    def list(self, _: ListProducts, _known: object) -> Any:
        raise self.error

    def find(self, _: int, _known: object) -> Any:
        raise self.error

    def categories(self, _known: object) -> Any:
        raise self.error


class Untouchable(StoredCatalog):
    """A store that must not be asked."""

    def _look(self, look: object) -> Any:
        raise AssertionError("the database was asked")


def away(database: Database, error: ServiceError | None = None) -> CachedCatalog:
    source = Away(error or UpstreamFailed("away"))
    return CachedCatalog(source, settings_for("http://nowhere"), stored=StoredCatalog(database))


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamCatalog]:
    with sample_upstream() as (url, _):
        yield UpstreamCatalog(Fetcher(settings_for(url)))


@pytest.mark.parametrize("fields", LISTINGS, ids=str)
def test_the_store_lists_what_upstream_lists(
    synced: CatalogUnderTest, upstream: UpstreamCatalog, fields: dict[str, Any]
) -> None:
    request = ListProducts(**fields)

    found = StoredCatalog(synced.database).list(request)

    assert found is not None
    assert found.value == upstream.list(request).value
    assert found.as_of == DONE_AT


def test_the_store_knows_the_categories(
    synced: CatalogUnderTest, upstream: UpstreamCatalog
) -> None:
    found = StoredCatalog(synced.database).categories()

    assert found is not None
    assert found.value == upstream.categories().value


def test_products_without_a_value_come_last_either_way(catalog: CatalogUnderTest) -> None:
    catalog.sync([make_product(1), make_product(2, brand="b"), make_product(3, brand="a")])
    store = StoredCatalog(catalog.database)

    for order, expected in (("asc", [3, 2, 1]), ("desc", [2, 3, 1])):
        found = store.list(ListProducts(sort_by="brand", order=order))
        assert found is not None
        assert [product.id for product in found.value.data] == expected


def test_text_is_sorted_and_searched_in_any_script(catalog: CatalogUnderTest) -> None:
    titles = ["Zebra", "apfel", "Äpfel", "ÉTÉ", "Ωmega", "Apfel"]
    catalog.sync(make_product(number, title=title) for number, title in enumerate(titles, 1))
    store = StoredCatalog(catalog.database)

    ordered = store.list(ListProducts(sort_by="title"))
    found = store.list(ListProducts(q="été"))

    assert ordered is not None
    assert [product.title for product in ordered.value.data] == sorted(titles)
    assert found is not None
    assert [product.title for product in found.value.data] == ["ÉTÉ"]


@pytest.mark.parametrize("error", [UpstreamFailed("away"), UpstreamBusy("slow down")])
async def test_while_upstream_is_away_the_store_answers_and_says_since_when(
    synced: CatalogUnderTest, error: ServiceError
) -> None:
    catalog = away(synced.database, error)

    page = await catalog.list(ListProducts(limit=2))
    product = await catalog.find(7)
    categories = await catalog.categories()

    assert (page.value.total, [each.id for each in page.value.data]) == (120, [1, 2])
    assert product.value is not None
    assert product.value.id == 7
    assert "kitchen" in [category.slug for category in categories.value.data]
    for found in (page, product, categories):
        assert (found.as_of, found.is_stale) == (DONE_AT, True)


async def test_a_product_that_is_not_stored_is_not_said_to_be_unknown(
    synced: CatalogUnderTest,
) -> None:
    with pytest.raises(UpstreamFailed):
        await get_product(GetProduct(product_id=999), catalog=away(synced.database))


async def test_what_no_reply_holds_is_not_taken_from_the_store_either(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync([make_product(number, description="x" * 1_000_000) for number in range(1, 6)])

    few = await list_products(ListProducts(limit=3), catalog=away(catalog.database))
    with pytest.raises(UpstreamFailed):
        await list_products(ListProducts(), catalog=away(catalog.database))

    assert len(few.value.data) == 3


@pytest.mark.parametrize("status", ["requested", "incomplete", "failed"])
async def test_without_a_sync_that_was_done_upstreams_error_is_the_answer(
    catalog: CatalogUnderTest, status: str
) -> None:
    products = [make_product(number) for number in range(1, 11)]
    catalog.list_products(products)
    if status == "incomplete":
        catalog.list_products([*products[:9], products[0]])
        assert catalog.sync().status == "incomplete"
    elif status == "failed":
        catalog.start_and_split()
        catalog.clock.now += 1800
        assert catalog.syncs.fail_stuck() == 1
    else:
        catalog.syncs.start()

    for ask in (away(catalog.database).list(ListProducts()), away(catalog.database).categories()):
        with pytest.raises(UpstreamFailed, match="away"):
            await ask


async def test_a_database_that_is_away_too_changes_nothing_about_the_error() -> None:
    database = Database("sqlite:////nowhere/at/all.db")

    with pytest.raises(UpstreamBusy, match="slow down"):
        await away(database, UpstreamBusy("slow down")).list(ListProducts())


async def test_while_upstream_answers_the_database_is_not_asked(database: Database) -> None:
    with sample_upstream() as (url, app):
        settings = settings_for(url, cache_fresh_s=0, cache_refresh_s=0)
        source = UpstreamCatalog(Fetcher(settings))
        catalog = CachedCatalog(source, settings, stored=Untouchable(database))

        page = await catalog.list(ListProducts(limit=2))
        with pytest.raises(ProductNotFound):
            await get_product(GetProduct(product_id=999), catalog=catalog)
        await catalog.categories()
        app.state.faults = Faults(fail_rate=1)
        with answering(within_s=2):
            known = await catalog.list(ListProducts(limit=2))
        with pytest.raises(AssertionError, match="the database was asked"), answering(within_s=2):
            await catalog.list(ListProducts(limit=3))

    assert known.value is page.value
