"""Start the auth service: ``python -m auth_worker``."""

import structlog

from auth_worker.settings import AuthMessagingSettings, AuthSettings
from auth_worker.tables import SCHEMA
from auth_worker.users import UserExists
from auth_worker.wiring import (
    AuthService,
    build_cleaner,
    build_handlers,
    build_relay,
    build_service,
)
from postroad.observability.logging import configure_logging
from postroad.runtime.serve import serve
from postroad.security.keyring import KeyRing
from postroad.settings import EnvironmentSettings, LogSettings, read_settings
from postroad.storage.opening import open_database
from postroad.storage.outbox import outbox_metrics
from postroad.storage.relay import OutboxPublisher
from postroad.storage.retrying import regularly

log = structlog.get_logger()

EXPECT_INTERVAL_S = 3600.0  # it reads all users
WITHDRAW_INTERVAL_S = 1.0  # there is seldom something to withdraw
DEVELOPMENT_USER = "admin"
DEVELOPMENT_PASSWORD = "admin"  # noqa: S105  # known to all, and refused outside development


def main() -> None:
    settings = read_settings(AuthSettings)
    messaging = read_settings(AuthMessagingSettings)
    is_development = read_settings(EnvironmentSettings).is_development
    configure_logging("auth", read_settings(LogSettings))
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    database = open_database(settings, SCHEMA, is_development=is_development)
    service = build_service(settings, database=database, keys=keys, is_development=is_development)
    if is_development:
        add_development_user(service)

    async def relay(publisher: OutboxPublisher) -> None:
        await build_relay(publisher, service=service, settings=settings).run()

    async def clean(_publisher: OutboxPublisher) -> None:
        await build_cleaner(service=service, settings=settings).run()

    async def withdraw(_publisher: OutboxPublisher) -> None:
        await regularly(service.attempts.withdraw_interrupted, interval_s=WITHDRAW_INTERVAL_S)

    async def expect(_publisher: OutboxPublisher) -> None:
        await regularly(service.expect_hashes, interval_s=EXPECT_INTERVAL_S)

    serve(
        build_handlers(service),
        keys=keys,
        settings=messaging,
        background=[relay, clean, withdraw, expect],
        follows_revocations=False,  # it looks into the database, where they are
        metrics=outbox_metrics(service.outbox, database),
    )
    database.close()


def add_development_user(service: AuthService) -> None:
    """Make the sign-in that the first run prints, unless it is there."""
    if service.users.find(DEVELOPMENT_USER) is not None:
        return
    password_hash = service.passwords.hash(DEVELOPMENT_PASSWORD)
    try:
        service.users.add(DEVELOPMENT_USER, password_hash, roles=("admin",), for_development=True)
    except UserExists:
        return  # another worker was quicker
    log.info("development sign-in made", username=DEVELOPMENT_USER)


if __name__ == "__main__":
    main()
