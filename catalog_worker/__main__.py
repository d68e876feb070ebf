"""Start the catalogue service: ``python -m catalog_worker``."""

from catalog_worker.cache import CachedCatalog
from catalog_worker.fallback import FallbackCatalog
from catalog_worker.fetcher import Fetcher
from catalog_worker.measures import cache_measures, upstream_measures
from catalog_worker.migrate import SCHEMA
from catalog_worker.settings import CatalogSettings, StoreSettings
from catalog_worker.stored_catalog import StoredCatalog
from catalog_worker.upkeep import clean_up, keep_schedule
from catalog_worker.upstream import UpstreamCatalog
from catalog_worker.wiring import build_handlers, build_storage
from shared.logs import configure_logging
from shared.messaging.keyring import KeyRing
from shared.messaging.service import serve
from shared.metrics.outbox import outbox_measures
from shared.settings import EnvironmentSettings, LogSettings, MessagingSettings, read_settings
from shared.storage.migrate import open_database
from shared.storage.relay import Publisher, relay_of


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
    cached = CachedCatalog(UpstreamCatalog(fetcher), settings)
    catalog = FallbackCatalog(cached, StoredCatalog(database))

    async def relay(publisher: Publisher) -> None:
        await relay_of(storage.outbox, publisher, database=database, settings=store).run()

    async def schedule(_publisher: Publisher) -> None:
        await keep_schedule(storage.syncs, store)

    async def clean(_publisher: Publisher) -> None:
        await clean_up(database, inbox=storage.inbox, syncs=storage.syncs, settings=store)

    serve(
        build_handlers(catalog=catalog, syncs=storage.syncs),
        keys=keys,
        settings=messaging,
        background=[relay, schedule, clean],
        measures=[
            *cache_measures(cached),
            *upstream_measures(fetcher),
            *outbox_measures(storage.outbox, database),
        ],
    )
    database.close()


if __name__ == "__main__":
    main()
