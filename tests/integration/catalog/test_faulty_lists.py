"""Syncs of lists with faults: what cannot be read is dropped, and nothing is removed in doubt."""

from secrets import token_hex

import pytest

from catalog_worker.listing import Dropped
from catalog_worker.tables import products
from postroad.contracts.catalog import PRODUCT_ID_MAX
from postroad.contracts.errors import UpstreamFailed
from postroad.contracts.events import ProductRemoved
from postroad.limits import MESSAGE_MAX_BYTES
from tests.support.auth import rows
from tests.support.catalog import CatalogUnderTest, finish_with, make_product, make_products, stored


def test_when_the_total_changes_between_pages_nothing_is_removed(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(30))
    catalog.list_products(make_products(20))
    first, second = catalog.start_and_split()
    catalog.deliver(first)
    catalog.list_products(make_products(21))

    sync = finish_with(catalog, [second])

    assert (sync.status, sync.removed, sync.pages_done) == ("incomplete", 0, 2)
    assert sync.finished_at == catalog.clock.now
    assert len(stored(catalog)) == 30


def test_when_products_slip_from_page_to_page_nothing_is_removed(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(20))
    jobs = catalog.start_and_split()
    catalog.deliver(jobs[0])
    catalog.list_products([make_product(21), *make_products(19)])  # number 10 is listed twice

    sync = finish_with(catalog, jobs[1:])

    assert (sync.products, sync.status, sync.removed) == (20, "incomplete", 0)
    assert len(stored(catalog)) == 20


def test_an_upstream_that_lists_nothing_at_all_does_not_empty_the_store(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(20))

    sync = catalog.sync([])

    assert (sync.status, sync.pages, sync.removed) == ("incomplete", 0, 0)
    assert len(stored(catalog)) == 20


def test_an_empty_catalogue_is_done_at_once(catalog: CatalogUnderTest) -> None:
    sync = catalog.sync([])

    assert (sync.status, sync.pages, sync.products) == ("done", 0, 0)
    assert sync.finished_at is not None


@pytest.mark.parametrize("total", [-1, 10**15])
def test_an_absurd_total_makes_no_jobs(catalog: CatalogUnderTest, total: int) -> None:
    started = catalog.syncs.start()

    with pytest.raises(UpstreamFailed, match="claims"):
        catalog.syncs.split(started.sync_id, total, message_id="m-1")

    assert catalog.syncs.get(started.sync_id).status == "requested"


def test_a_product_that_no_database_takes_is_skipped_and_the_rest_stored(
    catalog: CatalogUnderTest,
) -> None:
    listed = [
        make_product(0),
        make_product(PRODUCT_ID_MAX + 1),
        make_product(1, stock=2**63),
        make_product(2, title="nul\0", description="\0"),
        make_product(3, stock=2**63 - 1, title="\U0001f600"),
    ]

    sync = catalog.sync(listed)
    again = catalog.sync()

    assert (sync.status, again.status) == ("done", "done")
    assert (sync.products, sync.dropped) == (2, 3)
    assert sync.first_dropped == f"product 0: id: not from 1 to {PRODUCT_ID_MAX}"
    assert {row.id: row.title for row in rows(catalog.database, products)} == {
        2: "nul",
        3: "\U0001f600",
    }
    assert catalog.events == []


@pytest.mark.parametrize(
    ("too_long", "reason"),
    [
        ({"title": "x" * MESSAGE_MAX_BYTES}, "too long for a message"),
        ({"category": token_hex(4000)}, "category: too long"),
    ],
    ids=["for its event", "for an index"],
)
def test_a_product_that_is_too_long_is_skipped_and_the_rest_stored(
    catalog: CatalogUnderTest, too_long: dict[str, str], reason: str
) -> None:
    sync = catalog.sync([make_product(1), make_product(2, **too_long), make_product(3)])

    assert (sync.status, sync.products, sync.first_dropped) == ("done", 2, f"product 2: {reason}")
    assert all(len(event.model_dump_json()) < MESSAGE_MAX_BYTES for event in catalog.events)


def test_a_product_that_cannot_be_read_is_said_and_the_rest_stored(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(30))
    dropped = [Dropped(7, "title: Field required"), Dropped(31, "price: missing")]
    listed = [each for each in make_products(28) if each.id != 7]

    sync = catalog.sync([*listed[:20], *dropped, *listed[20:]])

    assert (sync.status, sync.products, sync.dropped) == ("done", 27, 2)
    assert sync.first_dropped == "product 7: title: Field required"
    assert sync.removed == 2  # what upstream lists no longer
    removed = {event.product_id for event in catalog.events if isinstance(event, ProductRemoved)}
    assert removed == {29, 30}
    assert stored(catalog) == {number: number + 0.25 for number in range(1, 29)}


@pytest.mark.parametrize("first", [Dropped(None, "id: Field required"), Dropped(2**70, "id: ?")])
def test_a_sync_begins_whatever_the_first_product_is(
    catalog: CatalogUnderTest, first: Dropped
) -> None:
    sync = catalog.sync([first, *make_products(15)])

    assert (sync.status, sync.pages, sync.products, sync.dropped) == ("done", 2, 15, 1)
    assert sync.first_dropped is not None
    assert sync.first_dropped.endswith(first.reason)


def test_where_nothing_can_be_read_nothing_is_removed(catalog: CatalogUnderTest) -> None:
    catalog.sync(make_products(20))

    sync = catalog.sync([Dropped(None, "id: Field required")] * 15)

    assert (sync.status, sync.products, sync.dropped, sync.removed) == ("incomplete", 0, 15, 0)
    assert len(stored(catalog)) == 20


def test_a_product_that_is_missing_is_not_made_up_for_by_one_dropped(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(20))
    jobs = catalog.start_and_split()
    catalog.deliver(jobs[0])
    catalog.list_products([Dropped(1, "price: ?"), *make_products(19)])  # number 10 comes twice

    sync = finish_with(catalog, jobs[1:])

    assert (sync.status, sync.removed) == ("incomplete", 0)
