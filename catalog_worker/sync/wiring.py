"""The sync's table of contents."""

from functools import partial

from catalog_worker.sync.handlers import Listing, fetch_page, split_sync
from catalog_worker.sync.syncs import Syncs
from postroad.contracts.events import SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.messaging.background_worker import BackgroundHandlers


def build_handlers(*, listing: Listing, syncs: Syncs) -> BackgroundHandlers:
    """Pair each message of a sync with what is done with it."""
    return {
        SyncRequested: partial(split_sync, listing=listing, syncs=syncs),
        FetchPage: partial(fetch_page, listing=listing, syncs=syncs),
    }
