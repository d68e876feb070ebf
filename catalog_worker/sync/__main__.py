"""Start what works off syncs: ``python -m catalog_worker.sync``."""

from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from catalog_worker.metrics import upstream_metrics
from catalog_worker.settings import CatalogSettings, StoreSettings, SyncMessagingSettings
from catalog_worker.sync.wiring import build_handlers
from catalog_worker.tables import SCHEMA
from catalog_worker.wiring import build_storage
from postroad.observability.logging import configure_logging
from postroad.runtime.serve import consume
from postroad.security.keyring import KeyRing
from postroad.settings import EnvironmentSettings, LogSettings, read_settings
from postroad.storage.opening import open_database
from postroad.storage.outbox import outbox_metrics
from postroad.storage.relay import OutboxPublisher, relay_of


def main() -> None:
    settings = read_settings(StoreSettings)
    fetcher = Fetcher(read_settings(CatalogSettings), wait_when_open=True)
    messaging = read_settings(SyncMessagingSettings)
    is_development = read_settings(EnvironmentSettings).is_development
    configure_logging("catalog", read_settings(LogSettings))
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    database = open_database(settings, SCHEMA, is_development=is_development)
    storage = build_storage(database, settings)

    async def relay(publisher: OutboxPublisher) -> None:
        await relay_of(storage.outbox, publisher, database=database, settings=settings).run()

    consume(
        "sync",
        build_handlers(listing=UpstreamCatalog(fetcher), syncs=storage.syncs),
        keys=keys,
        settings=messaging,
        background=[relay],
        metrics=[*upstream_metrics(fetcher), *outbox_metrics(storage.outbox, database)],
    )
    database.close()


if __name__ == "__main__":
    main()
