"""What is done with each message of a sync. They run in threads; a second delivery does nothing.

Upstream is asked before the transaction begins: nobody waits for a lock while upstream takes its
time.
"""

from typing import Protocol

from catalog_worker.listing import Listed
from catalog_worker.sync.syncs import Syncs
from postroad.context import current_context
from postroad.contracts.events import SyncRequested
from postroad.contracts.syncs import FetchPage


class Listing(Protocol):
    """Upstream's listing; raises ``UpstreamFailed`` or ``UpstreamBusy``."""

    def page(self, *, skip: int, limit: int) -> Listed: ...


def split_sync(event: SyncRequested, *, listing: Listing, syncs: Syncs) -> None:
    """Give out a job for each page that upstream has."""
    total = listing.page(skip=0, limit=1).total
    syncs.split(event.sync_id, total, message_id=current_context.get().message_id)


def fetch_page(job: FetchPage, *, listing: Listing, syncs: Syncs) -> None:
    """Fetch a page and store it, unless its sync is over."""
    if not syncs.is_running(job.sync_id):
        return
    page = listing.page(skip=job.skip, limit=job.limit)
    syncs.store_page(job.sync_id, page, message_id=current_context.get().message_id)
