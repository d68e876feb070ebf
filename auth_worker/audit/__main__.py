"""Start the audit of sign-ins: ``python -m auth_worker.audit``."""

from auth_worker.audit.trail import AuditTrail
from auth_worker.audit.wiring import build_handlers
from auth_worker.settings import AuditMessagingSettings, AuthSettings
from auth_worker.tables import SCHEMA
from postroad.observability.logging import configure_logging
from postroad.runtime.serve import consume
from postroad.security.keyring import KeyRing
from postroad.settings import EnvironmentSettings, LogSettings, read_settings
from postroad.storage.opening import open_database


def main() -> None:
    settings = read_settings(AuthSettings)
    messaging = read_settings(AuditMessagingSettings)
    is_development = read_settings(EnvironmentSettings).is_development
    configure_logging("auth", read_settings(LogSettings))
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    database = open_database(settings, SCHEMA, is_development=is_development)
    consume("audit", build_handlers(AuditTrail(database)), keys=keys, settings=messaging)
    database.close()


if __name__ == "__main__":
    main()
