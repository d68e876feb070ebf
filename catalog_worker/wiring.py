"""The catalogue service's table of contents."""

from functools import partial

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.stored import StoredCatalog
from catalog_worker.catalog.upstream import UpstreamCatalog
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
from catalog_worker.metrics import cache_metrics, upstream_metrics
from catalog_worker.settings import CatalogSettings, StoreSettings
from catalog_worker.sync.schedule import forget_old_syncs, keep_schedule
from catalog_worker.sync.syncs import Syncs
from catalog_worker.tables import SCHEMA
from catalog_worker.tables import inbox as inbox_table
from catalog_worker.tables import outbox as outbox_table
from postroad.contracts.catalog import GetProduct, ListCategories, ListProducts
from postroad.contracts.probes import ProbeSyncs
from postroad.contracts.syncs import GetSync, StartSync
from postroad.messaging.rpc_worker import Handlers
from postroad.runtime.resources import Resources, Wiring
from postroad.settings import read_settings
from postroad.storage.opening import Store

STORE = Store(StoreSettings, SCHEMA, outbox=outbox_table, inbox=inbox_table)


def build(resources: Resources[CatalogSettings]) -> Wiring[Handlers]:
    """Build what answers requests, starts syncs when they are due, and forgets old ones."""
    store = read_settings(StoreSettings)
    syncs = build_syncs(resources, store)
    fetcher = Fetcher(resources.settings)
    stored = StoredCatalog(resources.database)
    catalog = CachedCatalog(UpstreamCatalog(fetcher), resources.settings, stored=stored)
    return Wiring(
        build_handlers(catalog=catalog, syncs=syncs),
        background=[
            partial(keep_schedule, syncs, store),
            partial(forget_old_syncs, syncs, resources.database, store),
        ],
        metrics=[*cache_metrics(catalog), *upstream_metrics(fetcher)],
    )


def build_syncs(resources: Resources[CatalogSettings], store: StoreSettings) -> Syncs:
    """Build what keeps account of syncs."""
    return Syncs(resources.database, inbox=resources.inbox, outbox=resources.outbox, settings=store)


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
