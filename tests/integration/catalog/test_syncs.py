"""Syncs: every page is stored once, and every change is told once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest
from sqlalchemy import event

from catalog_worker.listing import Listed
from catalog_worker.sync.products import save_products
from catalog_worker.tables import inbox, outbox, products, syncs
from postroad.contracts.catalog import Product
from postroad.contracts.errors import SyncNotFound, UpstreamFailed
from postroad.contracts.events import ProductAdded, ProductPriceChanged, ProductRemoved
from postroad.contracts.syncs import Sync
from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from tests.support.auth import at_once, beside, rows
from tests.support.catalog import (
    CatalogUnderTest,
    FakeListing,
    make_product,
    make_products,
    make_store_settings,
    stored,
)


def test_a_sync_copies_all_products_and_tells_of_each(catalog: CatalogUnderTest) -> None:
    sync = catalog.sync(make_products(35))

    assert (sync.status, sync.pages, sync.pages_done) == ("done", 4, 4)
    assert (sync.products, sync.added, sync.price_changed, sync.removed) == (35, 35, 0, 0)
    assert stored(catalog) == {number: number + 0.25 for number in range(1, 36)}
    assert {each.product_id for each in catalog.events if isinstance(each, ProductAdded)} == {
        *range(1, 36)
    }
    assert catalog.listing.asked[0] == (0, 1)
    assert sorted(catalog.listing.asked[1:]) == [(0, 10), (10, 10), (20, 10), (30, 10)]


def test_a_second_sync_changes_and_tells_nothing(catalog: CatalogUnderTest) -> None:
    catalog.sync(make_products(25))
    before = stored(catalog)

    sync = catalog.sync()

    assert (sync.status, sync.products) == ("done", 25)
    assert (sync.added, sync.price_changed, sync.removed) == (0, 0, 0)
    assert catalog.events == []
    assert stored(catalog) == before


def test_what_has_changed_is_told(catalog: CatalogUnderTest) -> None:
    catalog.sync(make_products(20))
    changed = make_products(20)
    changed[4] = make_product(5, price=99.5)
    changed[5] = make_product(6, title="Renamed", brand="New")
    del changed[11]
    changed.append(make_product(21))

    sync = catalog.sync(changed)

    assert (sync.added, sync.price_changed, sync.removed) == (1, 1, 1)
    assert catalog.events == [
        ProductPriceChanged(product_id=5, old_price=5.25, new_price=99.5, sync_id=sync.sync_id),
        ProductAdded(product_id=21, title="Product 21", price=21.25, sync_id=sync.sync_id),
        ProductRemoved(product_id=12, sync_id=sync.sync_id),
    ]
    [renamed] = [row for row in rows(catalog.database, products) if row.id == 6]
    assert (renamed.title, renamed.brand) == ("Renamed", "New")
    assert 12 not in stored(catalog)


def test_while_a_sync_is_under_way_it_is_the_one_that_is_started(
    catalog: CatalogUnderTest,
) -> None:
    catalog.list_products(make_products(15))
    first = catalog.syncs.start()
    second = catalog.syncs.start()
    catalog.work()
    third = catalog.syncs.start()

    assert second.sync_id == first.sync_id
    assert third.sync_id != first.sync_id


def test_of_many_who_start_a_sync_at_once_one_does(catalog: CatalogUnderTest) -> None:
    outcomes = at_once(8, lambda _: catalog.syncs.start())

    assert len({outcome.sync_id for outcome in outcomes if isinstance(outcome, Sync)}) == 1
    assert len(rows(catalog.database, syncs)) == len(rows(catalog.database, outbox)) == 1


def test_a_sync_is_due_so_long_after_the_last_was_requested(catalog: CatalogUnderTest) -> None:
    first = catalog.syncs.start_if_due(60)
    catalog.work()
    catalog.clock.now += 59
    too_early = catalog.syncs.start_if_due(60)
    catalog.clock.now += 1
    second = catalog.syncs.start_if_due(60)

    assert first is not None
    assert too_early is None
    assert second is not None


def test_of_many_replicas_one_starts_the_sync_that_is_due(catalog: CatalogUnderTest) -> None:
    def look(_: int) -> Sync | None:
        started = catalog.syncs.start_if_due(60)
        if started is not None:  # and it is over at once
            catalog.syncs.split(started.sync_id, 0, message_id="m-1")
        return started

    outcomes = at_once(8, look)

    assert sum(isinstance(outcome, Sync) for outcome in outcomes) == 1
    assert outcomes.count(None) == 7


def test_a_sync_without_progress_fails_and_another_can_start(catalog: CatalogUnderTest) -> None:
    catalog.list_products(make_products(30))
    first, second, _ = catalog.start_and_split()
    [stuck] = rows(catalog.database, syncs)
    catalog.clock.now += 1799
    catalog.deliver(first)
    catalog.clock.now += 1799
    assert catalog.syncs.fail_stuck() == 0
    catalog.clock.now += 1

    started = catalog.syncs.start()
    before = stored(catalog)
    catalog.deliver(second)

    assert started.sync_id != stuck.id
    assert catalog.syncs.get(stuck.id).status == "failed"
    assert catalog.syncs.get(stuck.id).pages_done == 1
    assert stored(catalog) == before
    assert (10, 10) not in catalog.listing.asked  # nor is upstream asked for it


def test_a_page_that_comes_for_a_sync_that_failed_meanwhile_is_not_stored(
    catalog: CatalogUnderTest,
) -> None:
    catalog.list_products(make_products(30))
    catalog.start_and_split()
    [sync] = rows(catalog.database, syncs)
    page = catalog.listing.page(skip=0, limit=10)
    catalog.clock.now += 1800
    catalog.syncs.fail_stuck()

    catalog.syncs.store_page(sync.id, page, message_id="m-1")

    assert stored(catalog) == {}
    assert catalog.syncs.get(sync.id).pages_done == 0


def test_every_message_may_come_twice(catalog: CatalogUnderTest) -> None:
    catalog.list_products(make_products(35))
    started = catalog.syncs.start()
    catalog.relay()
    seen = 0
    while catalog.jobs:
        message = catalog.jobs.popleft()
        catalog.deliver(message)
        catalog.deliver(message)
        catalog.relay()
        seen += 1

    sync = catalog.syncs.get(started.sync_id)
    assert seen == 5
    assert (sync.status, sync.pages_done, sync.products, sync.added) == ("done", 4, 35, 35)
    assert len(catalog.events) == 35


def test_pages_stored_at_once_are_each_counted_and_finish_the_sync_once(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync([make_product(number, price=1.5) for number in range(1, 401)])
    catalog.list_products([*reversed(make_products(390)), *map(make_product, range(401, 411))])
    jobs = catalog.start_and_split()
    catalog.events.clear()

    def deliver_some(worker: int) -> int:
        """Each page comes to two workers."""
        mine = jobs[worker % 4 :: 4]
        for job in mine if worker < 4 else reversed(mine):
            catalog.deliver(job)
        return len(mine)

    outcomes = at_once(8, deliver_some)
    catalog.relay()

    assert outcomes == [10] * 8
    sync = catalog.syncs.start()
    catalog.relay()
    done = rows(catalog.database, syncs)[-2]
    assert sync.sync_id != done.id
    assert (done.status, done.pages_done, done.products) == ("done", 40, 400)
    assert (done.added, done.price_changed, done.removed) == (10, 390, 10)
    assert len(catalog.events) == 410
    assert len({(each.name, each.product_id) for each in catalog.events}) == 410  # type: ignore[attr-defined]


def test_the_same_message_at_two_workers_at_once_is_stored_once(
    catalog: CatalogUnderTest,
) -> None:
    catalog.list_products(make_products(10))
    [job] = catalog.start_and_split()

    outcomes = at_once(8, lambda _: catalog.deliver(job))
    catalog.relay()

    assert outcomes == [None] * 8
    assert len(catalog.events) == 10


def test_upstream_is_asked_while_no_lock_is_held(catalog: CatalogUnderTest) -> None:
    catalog.list_products(make_products(20))
    jobs = catalog.start_and_split()
    barrier = Barrier(2)

    class Slow(FakeListing):
        def page(self, *, skip: int, limit: int) -> Listed:
            barrier.wait(10)  # both pages are being fetched at the same time
            return super().page(skip=skip, limit=limit)

    slow = CatalogUnderTest(
        catalog.database, listing=Slow(catalog.listing.products), clock=catalog.clock
    )
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(slow.deliver, jobs))

    assert [row.status for row in rows(catalog.database, syncs)] == ["done"]


def test_pages_of_one_sync_wait_for_one_another(catalog: CatalogUnderTest) -> None:
    catalog.list_products(make_products(20))
    jobs = catalog.start_and_split()
    with ExitStack() as ends, catalog.database.writing() as transaction:
        transaction.connection.execute(syncs.select().with_for_update())
        is_done = ends.enter_context(beside(lambda: catalog.deliver(jobs[0])))
        assert not is_done()

    assert rows(catalog.database, syncs)[0].pages_done == 1


def test_a_worker_killed_before_commit_leaves_nothing_and_is_made_up_for(
    catalog: CatalogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.list_products(make_products(20))
    jobs = catalog.start_and_split()
    with monkeypatch.context() as dying:
        dying.setattr("catalog_worker.sync.syncs._update", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            catalog.deliver(jobs[0])
    left = stored(catalog), rows(catalog.database, outbox), len(rows(catalog.database, inbox))

    for job in jobs:
        catalog.deliver(job)

    assert left == ({}, [], 1)
    assert len(stored(catalog)) == 20
    assert [row.status for row in rows(catalog.database, syncs)] == ["done"]


def test_upstream_that_fails_leaves_the_page_to_be_tried_again(
    catalog: CatalogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.list_products(make_products(10))
    [job] = catalog.start_and_split()

    def fail(**_: int) -> Listed:
        raise UpstreamFailed("away")

    with monkeypatch.context() as failing:
        failing.setattr(catalog.listing, "page", fail)
        with pytest.raises(UpstreamFailed):
            catalog.deliver(job)
    catalog.deliver(job)

    assert [row.status for row in rows(catalog.database, syncs)] == ["done"]


def test_a_page_takes_few_statements_however_many_products(catalog: CatalogUnderTest) -> None:
    statements: list[str] = []

    def changed(number: int) -> Product:
        return make_product(number, price=0.5)

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    with catalog.database.writing() as transaction:
        event.listen(catalog.database.engine, "before_cursor_execute", note)
        save_products(transaction, make_products(1000), "sync-1")
        changes = save_products(transaction, list(map(changed, range(1, 1001))), "sync-2")
        of_changes = len(statements)
        save_products(transaction, list(map(changed, range(1, 1001))), "sync-3")
        event.remove(catalog.database.engine, "before_cursor_execute", note)

    assert of_changes == 2 * 3
    assert len(statements) - of_changes == 2  # what has not changed is not written again
    assert len(changes) == 1000
    assert set(stored(catalog).values()) == {0.5}


@pytest.mark.parametrize("sync_id", ["0", "\0", "\U0001f600", "' OR 1=1 --"])
def test_a_sync_that_is_not_there_is_not_found(catalog: CatalogUnderTest, sync_id: str) -> None:
    with pytest.raises(SyncNotFound):
        catalog.syncs.get(sync_id)


def test_syncs_are_forgotten_in_time_but_the_last_that_was_done(
    catalog: CatalogUnderTest,
) -> None:
    catalog.sync(make_products(10))
    catalog.clock.now += 1
    done = catalog.sync()
    catalog.clock.now += 1
    catalog.sync([])
    catalog.clock.now += EVENT_LIFETIME_S + 8 * 86_400
    under_way = catalog.syncs.start()

    with catalog.database.writing() as transaction:
        deleted = catalog.syncs.clean(transaction)

    assert deleted == 2
    assert [row.id for row in rows(catalog.database, syncs)] == [done.sync_id, under_way.sync_id]


def test_thousands_of_pages_are_given_out_at_once(catalog: CatalogUnderTest) -> None:
    settings = make_store_settings(sync_page_size=1)
    large = CatalogUnderTest(catalog.database, settings=settings, clock=catalog.clock)
    started = large.syncs.start()
    large.relay()

    large.syncs.split(started.sync_id, 20_000, message_id="m-1")
    jobs = rows(catalog.database, outbox)

    assert len(jobs) == 20_000
    assert large.syncs.get(started.sync_id).pages == 20_000
