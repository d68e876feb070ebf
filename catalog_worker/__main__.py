"""Start the catalogue service: ``python -m catalog_worker``."""

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.stored import StoredCatalog
from catalog_worker.catalog.upstream import UpstreamCatalog
from catalog_worker.metrics import cache_metrics, upstream_metrics
from catalog_worker.settings import CatalogSettings, StoreSettings
from catalog_worker.sync.schedule import clean_up, keep_schedule
from catalog_worker.tables import SCHEMA
from catalog_worker.wiring import build_handlers, build_storage
from postroad.observability.logging import configure_logging
from postroad.runtime.serve import serve
from postroad.security.keyring import KeyRing
from postroad.settings import EnvironmentSettings, LogSettings, MessagingSettings, read_settings
from postroad.storage.opening import open_database
from postroad.storage.outbox import outbox_metrics
from postroad.storage.relay import OutboxPublisher, relay_of


def main() -> None:
    settings = read_settings(CatalogSettings)
    store = read_settings(StoreSettings)
    messaging = read_settings(MessagingSettings)
    is_development = read_settings(EnvironmentSettings).is_development
    configure_logging("catalog", read_settings(LogSettings))
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    database = open_database(store, SCHEMA, is_development=is_development)
    storage = build_storage(database, store)
    fetcher = Fetcher(settings)
    catalog = CachedCatalog(UpstreamCatalog(fetcher), settings, stored=StoredCatalog(database))

    async def relay(publisher: OutboxPublisher) -> None:
        await relay_of(storage.outbox, publisher, database=database, settings=store).run()

    async def schedule(_publisher: OutboxPublisher) -> None:
        await keep_schedule(storage.syncs, store)

    async def clean(_publisher: OutboxPublisher) -> None:
        await clean_up(database, inbox=storage.inbox, syncs=storage.syncs, settings=store)

    serve(
        build_handlers(catalog=catalog, syncs=storage.syncs),
        keys=keys,
        settings=messaging,
        background=[relay, schedule, clean],
        metrics=[
            *cache_metrics(catalog),
            *upstream_metrics(fetcher),
            *outbox_metrics(storage.outbox, database),
        ],
    )
    database.close()


if __name__ == "__main__":
    main()
