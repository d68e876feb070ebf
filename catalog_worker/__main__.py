"""Start the catalogue service: ``python -m catalog_worker``."""

from catalog_worker.cache import CachedCatalog
from catalog_worker.fetcher import Fetcher
from catalog_worker.settings import CatalogSettings
from catalog_worker.upstream import UpstreamCatalog
from catalog_worker.wiring import build_handlers
from shared.logs import configure_logging
from shared.messaging.keyring import KeyRing
from shared.messaging.service import serve
from shared.settings import LogSettings, MessagingSettings, read_settings


def main() -> None:
    settings = read_settings(CatalogSettings)
    messaging = read_settings(MessagingSettings)
    configure_logging("catalog", read_settings(LogSettings))
    catalog = CachedCatalog(UpstreamCatalog(Fetcher(settings)), settings)
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    serve(build_handlers(catalog=catalog), keys=keys, settings=messaging)


if __name__ == "__main__":
    main()
