"""Start the auth service: ``python -m auth_worker``."""

import structlog

from auth_worker.passwords import Passwords
from auth_worker.settings import AuthMessagingSettings, AuthSettings
from auth_worker.tokens import TokenIssuer
from auth_worker.users import UserExists, UserStore
from auth_worker.wiring import build_handlers
from shared.logs import configure_logging
from shared.messaging.keys import Identity
from shared.messaging.worker import serve
from shared.settings import EnvironmentSettings, LogSettings, read_settings

log = structlog.get_logger()

DEVELOPMENT_USER = "admin"
DEVELOPMENT_PASSWORD = "admin"  # noqa: S105  # known to all, and refused outside development


def main() -> None:
    settings = read_settings(AuthSettings)
    messaging = read_settings(AuthMessagingSettings)
    environment = read_settings(EnvironmentSettings)
    configure_logging("auth", read_settings(LogSettings))
    identity = Identity.load(messaging.identity_file)
    users = UserStore(settings.database_url, is_development=environment.is_development)
    passwords = Passwords(settings)
    tokens = TokenIssuer(identity, lifetime_s=settings.token_lifetime_s)
    if environment.is_development:
        add_development_user(users, passwords)
    handlers = build_handlers(users=users, passwords=passwords, tokens=tokens, identity=identity)
    serve("auth", handlers, messaging)
    users.close()


def add_development_user(users: UserStore, passwords: Passwords) -> None:
    """Make the sign-in that the first run prints, unless it is there."""
    if users.find(DEVELOPMENT_USER) is not None:
        return
    try:
        users.add(DEVELOPMENT_USER, passwords.hash(DEVELOPMENT_PASSWORD), for_development=True)
    except UserExists:
        return  # another worker was quicker
    log.info("development sign-in made", username=DEVELOPMENT_USER)


if __name__ == "__main__":
    main()
