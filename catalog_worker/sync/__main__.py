"""Start what works off syncs: ``python -m catalog_worker.sync``."""

from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from catalog_worker.metrics import upstream_metrics
from catalog_worker.settings import CatalogSettings, StoreSettings, SyncMessagingSettings
from catalog_worker.sync.wiring import build_handlers
from catalog_worker.wiring import STORE, build_syncs
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.runtime.resources import Resources, Wiring
from postroad.runtime.serve import consume
from postroad.settings import read_settings


def build(resources: Resources[CatalogSettings]) -> Wiring[BackgroundHandlers]:
    """Build what splits syncs into pages, and fetches and stores each page."""
    fetcher = Fetcher(resources.settings, wait_when_open=True)
    syncs = build_syncs(resources, read_settings(StoreSettings))
    handlers = build_handlers(listing=UpstreamCatalog(fetcher), syncs=syncs)
    return Wiring(handlers, metrics=upstream_metrics(fetcher))


if __name__ == "__main__":
    consume("sync", build, settings=CatalogSettings, store=STORE, messaging=SyncMessagingSettings)
