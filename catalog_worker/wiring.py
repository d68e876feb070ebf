"""The catalogue service's table of contents."""

from dataclasses import dataclass
from functools import partial

from catalog_worker.handlers import (
    Catalog,
    SyncBook,
    get_product,
    get_sync,
    list_categories,
    list_products,
    probe_syncs,
    start_sync,
)
from catalog_worker.settings import StoreSettings
from catalog_worker.sync.syncs import Syncs
from catalog_worker.tables import inbox as inbox_table
from catalog_worker.tables import outbox as outbox_table
from postroad.contracts.catalog import GetProduct, ListCategories, ListProducts
from postroad.contracts.probes import ProbeSyncs
from postroad.contracts.syncs import GetSync, StartSync
from postroad.messaging.rpc_worker import Handlers
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from postroad.storage.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Storage:
    """What of the catalogue service is in the database."""

    database: Database
    inbox: Inbox
    outbox: Outbox
    syncs: Syncs


def build_storage(database: Database, settings: StoreSettings) -> Storage:
    """Put together what is in the database; nothing connects yet."""
    inbox, outbox = Inbox(inbox_table), Outbox(outbox_table)
    syncs = Syncs(database, inbox=inbox, outbox=outbox, settings=settings)
    return Storage(database, inbox, outbox, syncs)


def build_handlers(*, catalog: Catalog, syncs: SyncBook) -> Handlers:
    """Pair each contract with what answers it."""
    return {
        GetProduct: partial(get_product, catalog=catalog),
        ListCategories: partial(list_categories, catalog=catalog),
        ListProducts: partial(list_products, catalog=catalog),
        ProbeSyncs: partial(probe_syncs, syncs=syncs),
        StartSync: partial(start_sync, syncs=syncs),
        GetSync: partial(get_sync, syncs=syncs),
    }
