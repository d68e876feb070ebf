"""Syncs: copies of upstream's whole listing into the store, page by page.

The pages of a sync are fetched at the same time and stored one after the other: who stores one
holds the lock of the sync's row, so that counts are right and the last page knows that it is.
"""

from collections.abc import Callable
from math import ceil
from time import time
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from catalog_worker.listing import Dropped, Listed
from catalog_worker.settings import StoreSettings
from catalog_worker.sync.products import (
    count_seen,
    holds_any,
    keep_dropped,
    remove_unseen,
    save_products,
    without_unfit,
)
from catalog_worker.tables import syncs
from postroad.contracts.errors import SyncNotFound, UpstreamFailed
from postroad.contracts.events import ProductAdded, ProductPriceChanged, SyncRequested
from postroad.contracts.syncs import FetchPage, Sync
from postroad.ids import new_id
from postroad.storage.database import Database, Transaction
from postroad.storage.inbox import MEMORY_S, Inbox
from postroad.storage.outbox import Messages

log = structlog.get_logger()

PRODUCTS_MAX = 10_000_000  # an upstream that claims more is taken for broken
_STARTING = 0x73796E6373  # the name of our advisory lock in PostgreSQL: "syncs"
_is_under_way = syncs.c.status.in_(["requested", "running"])


class Syncs:
    """Syncs in the database; at most one is under way."""

    def __init__(
        self,
        database: Database,
        *,
        inbox: Inbox,
        outbox: Messages,
        settings: StoreSettings,
        clock: Callable[[], float] = time,
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._outbox = outbox
        self._page_size = settings.sync_page_size
        self._patience_s = settings.sync_patience_s
        self._clock = clock

    def start(self) -> Sync:
        """Start a sync, or give the one that is under way."""
        with self._database.writing() as transaction:
            transaction.exclude_others(_STARTING)
            return self._under_way(transaction) or self._begin(transaction)

    def start_if_due(self, every_s: float) -> Sync | None:
        """Start a sync if the last one was requested so long ago, or there was none."""
        latest = syncs.select().where(syncs.c.requested_at > self._clock() - every_s).limit(1)
        with self._database.writing() as transaction:
            transaction.exclude_others(_STARTING)
            if transaction.connection.execute(latest).first() is not None:
                return None
            return None if self._under_way(transaction) else self._begin(transaction)

    def get(self, sync_id: str) -> Sync:
        """Say how far a sync is.

        Raises:
            SyncNotFound: there is none of that id.
        """
        query = syncs.select().where(syncs.c.id == sync_id.replace("\0", ""))  # as PostgreSQL wants
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise SyncNotFound("no sync of that id")
        return _sync(row)

    def problem(self) -> str | None:
        """Return why no sync can start now, none if one can."""
        return self._database.problem()

    def is_running(self, sync_id: str) -> bool:
        """Say whether a sync still wants pages."""
        query = select(syncs.c.status).where(syncs.c.id == sync_id)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none() == "running"

    def split(self, sync_id: str, total: int, *, message_id: str) -> None:
        """Turn a requested sync into a job for each page, all of them or none.

        Raises:
            UpstreamFailed: upstream claims to have more products than anybody has.
        """
        if not 0 <= total <= PRODUCTS_MAX:
            raise UpstreamFailed(f"the product source claims to have {total} products")
        pages = ceil(total / self._page_size)
        with self._database.writing() as transaction:
            if not self._inbox.first_time(transaction, message_id):
                return
            if self._lock(transaction, sync_id, "requested") is None:
                return
            _update(
                transaction,
                sync_id,
                status="running",
                pages=pages,
                total=total,
                progress_at=self._clock(),
            )
            self._outbox.add_all(
                transaction,
                (
                    FetchPage(sync_id=sync_id, skip=skip, limit=self._page_size)
                    for skip in range(0, total, self._page_size)
                ),
            )
            if pages == 0:
                self._finish(transaction, sync_id, is_whole=not holds_any(transaction))

    def store_page(self, sync_id: str, page: Listed, *, message_id: str) -> None:
        """Store a page, and tell what has changed; the last one finishes the sync.

        Nothing happens if this message has been dealt with, or the sync is over. What cannot be
        read is counted as listed, and left in the store as it was.
        """
        page = without_unfit(page)
        with self._database.writing() as transaction:
            if not self._inbox.first_time(transaction, message_id):
                return
            sync = self._lock(transaction, sync_id, "running")
            if sync is None:
                return
            events = save_products(transaction, page.products, sync_id)
            kept = keep_dropped(transaction, page.dropped, sync_id)
            unstored = sync.unstored + len(page.dropped) - kept
            self._outbox.add_all(transaction, events)
            is_steady = sync.is_steady and page.total == sync.total
            _update(
                transaction,
                sync_id,
                progress_at=self._clock(),
                pages_done=sync.pages_done + 1,
                is_steady=is_steady,
                products=sync.products + len(page.products),
                dropped=sync.dropped + len(page.dropped),
                first_dropped=sync.first_dropped or _first_of(page.dropped),
                unstored=unstored,
                added=sync.added + _count(events, ProductAdded),
                price_changed=sync.price_changed + _count(events, ProductPriceChanged),
            )
            if sync.pages_done + 1 == sync.pages:
                seen = count_seen(transaction, sync_id)
                is_whole = is_steady and seen > 0 and seen + unstored == sync.total
                self._finish(transaction, sync_id, is_whole=is_whole)

    def fail_stuck(self) -> int:
        """Give up a sync that has made no progress for too long, and say how many did."""
        with self._database.writing() as transaction:
            return self._fail_stuck(transaction)

    def clean(self, transaction: Transaction) -> int:
        """Forget the syncs that no message speaks of any more, but the last that was done."""
        old = syncs.c.requested_at <= self._clock() - MEMORY_S
        last = transaction.connection.execute(_last_done).first()
        kept = last.id if last else ""
        deleted = syncs.delete().where(old, ~_is_under_way, syncs.c.id != kept)
        return transaction.connection.execute(deleted).rowcount

    def _under_way(self, transaction: Transaction) -> Sync | None:
        self._fail_stuck(transaction)
        row = transaction.connection.execute(syncs.select().where(_is_under_way)).first()
        return _sync(row) if row else None

    def _begin(self, transaction: Transaction) -> Sync:
        now = self._clock()
        sync = Sync(
            sync_id=new_id(),
            status="requested",
            requested_at=now,
            finished_at=None,
            pages=None,
            pages_done=0,
            products=0,
            added=0,
            price_changed=0,
            removed=0,
        )
        values = sync.model_dump(exclude={"sync_id"})
        transaction.connection.execute(
            syncs.insert().values(id=sync.sync_id, progress_at=now, is_steady=True, **values)
        )
        self._outbox.add(transaction, SyncRequested(sync_id=sync.sync_id))
        return sync

    def _finish(self, transaction: Transaction, sync_id: str, *, is_whole: bool) -> None:
        """End a sync; what a whole listing did not show is there no more."""
        removed = remove_unseen(transaction, sync_id) if is_whole else []
        self._outbox.add_all(transaction, removed)
        status = "done" if is_whole else "incomplete"
        _update(
            transaction,
            sync_id,
            status=status,
            finished_at=self._clock(),
            removed=len(removed),
        )
        log.info("sync finished", sync_id=sync_id, status=status, removed=len(removed))

    def _fail_stuck(self, transaction: Transaction) -> int:
        now = self._clock()
        is_stuck = syncs.c.progress_at <= now - self._patience_s
        failed = transaction.connection.execute(
            syncs.update().where(_is_under_way, is_stuck).values(status="failed", finished_at=now)
        )
        if failed.rowcount:
            log.warning("sync made no progress for too long", patience_s=self._patience_s)
        return failed.rowcount

    def _lock(self, transaction: Transaction, sync_id: str, status: str) -> Row[Any] | None:
        """Keep everybody else from a sync; none if it is not in that status."""
        query = syncs.select().where(syncs.c.id == sync_id).with_for_update()
        row = transaction.connection.execute(query).one_or_none()
        return row if row is not None and row.status == status else None


_last_done = (
    syncs.select().where(syncs.c.status == "done").order_by(syncs.c.finished_at.desc()).limit(1)
)


def last_done(connection: Connection) -> float | None:
    """Say when the last sync that saw everything finished."""
    row = connection.execute(_last_done).first()
    return row.finished_at if row else None


def _first_of(dropped: list[Dropped]) -> str | None:
    if not dropped:
        return None
    which = "a product" if dropped[0].id is None else f"product {dropped[0].id}"
    return f"{which}: {dropped[0].reason}"


def _update(transaction: Transaction, sync_id: str, **values: object) -> None:
    transaction.connection.execute(syncs.update().where(syncs.c.id == sync_id).values(values))


def _count(events: list[Any], kind: type[object]) -> int:
    return sum(isinstance(event, kind) for event in events)


def _sync(row: Row[Any]) -> Sync:
    values = {name: getattr(row, name) for name in Sync.model_fields if name != "sync_id"}
    return Sync(sync_id=row.id, **values)
