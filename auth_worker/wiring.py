"""The auth service's table of contents."""

from dataclasses import dataclass
from functools import partial

import structlog

from auth_worker.attempts import Attempts
from auth_worker.cleaning import Cleaner
from auth_worker.devices import Devices
from auth_worker.handlers import (
    change_password,
    create_session,
    end_own_session,
    end_session,
    get_own_user,
    list_own_sessions,
    list_revocations,
    probe_sessions,
    refresh_session,
)
from auth_worker.passwords import Passwords
from auth_worker.refresh_tokens import Rotation
from auth_worker.sessions import Lifetimes, Sessions
from auth_worker.settings import AuthSettings
from auth_worker.sign_in import SignIn
from auth_worker.tables import SCHEMA
from auth_worker.tables import outbox as outbox_table
from auth_worker.tokens import TokenIssuer
from auth_worker.users import UserExists, UserStore
from postroad.contracts.auth import (
    ChangePassword,
    CreateSession,
    EndOwnSession,
    EndSession,
    GetOwnUser,
    ListOwnSessions,
    ListRevocations,
    RefreshSession,
)
from postroad.contracts.probes import ProbeSessions
from postroad.messaging.rpc_worker import Handlers
from postroad.runtime.resources import Resources, Wiring
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from postroad.storage.opening import Store
from postroad.storage.outbox import Outbox
from postroad.storage.retrying import regularly

log = structlog.get_logger()

STORE = Store(AuthSettings, SCHEMA, outbox=outbox_table)
EXPECT_INTERVAL_S = 3600.0  # it reads all users
WITHDRAW_INTERVAL_S = 1.0  # there is seldom something to withdraw
DEVELOPMENT_USER = "admin"
DEVELOPMENT_PASSWORD = "admin"  # noqa: S105  # known to all, and refused outside development


def build(resources: Resources[AuthSettings]) -> Wiring[Handlers]:
    """Build what answers requests, and keeps the database and its own expectations in order."""
    service = build_service(
        resources.settings,
        database=resources.database,
        outbox=resources.outbox,
        keys=resources.keys,
        is_development=resources.is_development,
    )
    if resources.is_development:
        add_development_user(service)
    return Wiring(
        build_handlers(service),
        background=[
            build_cleaner(service=service, settings=resources.settings).run,
            partial(
                regularly, service.attempts.withdraw_interrupted, interval_s=WITHDRAW_INTERVAL_S
            ),
            partial(regularly, service.expect_hashes, interval_s=EXPECT_INTERVAL_S),
        ],
    )


def add_development_user(service: "AuthService") -> None:
    """Make the sign-in that the first run prints, unless it is there."""
    if service.users.find(DEVELOPMENT_USER) is not None:
        return
    password_hash = service.passwords.hash(DEVELOPMENT_PASSWORD)
    try:
        service.users.add(DEVELOPMENT_USER, password_hash, roles=("admin",), for_development=True)
    except UserExists:
        return  # another worker was quicker
    log.info("development sign-in made", username=DEVELOPMENT_USER)


@dataclass(frozen=True, slots=True)
class AuthService:
    """What the auth service is made of."""

    database: Database
    outbox: Outbox
    keys: KeyRing
    users: UserStore
    passwords: Passwords
    sessions: Sessions
    attempts: Attempts
    devices: Devices
    sign_in: SignIn

    def expect_hashes(self) -> None:
        """Let checks of passwords take as long for all users as for those with older hashes."""
        self.passwords.expect(self.users.hashes_of_each_kind())


def build_service(
    settings: AuthSettings,
    *,
    database: Database,
    outbox: Outbox,
    keys: KeyRing,
    is_development: bool,
) -> AuthService:
    """Put the service together; nothing connects yet."""
    users = UserStore(database, outbox, is_development=is_development)
    passwords = Passwords(settings)
    devices = Devices(keys)
    sessions = Sessions(
        database,
        outbox,
        users=users,
        issuer=TokenIssuer(keys),
        rotation=Rotation(keys),
        devices=devices,
        lifetimes=Lifetimes(
            access_s=settings.token_lifetime_s,
            refresh_s=settings.refresh_token_lifetime_s,
            session_s=settings.session_lifetime_s,
        ),
    )
    attempts = Attempts(database, settings)
    sign_in = SignIn(
        database,
        outbox,
        users=users,
        passwords=passwords,
        attempts=attempts,
        devices=devices,
        sessions=sessions,
    )
    return AuthService(
        database, outbox, keys, users, passwords, sessions, attempts, devices, sign_in
    )


def build_handlers(service: AuthService) -> Handlers:
    """Pair each contract with what answers it."""
    sessions, keys, sign_in = service.sessions, service.keys, service.sign_in
    return {
        CreateSession: partial(create_session, sign_in=sign_in, keys=keys),
        RefreshSession: partial(refresh_session, sessions=sessions, keys=keys),
        EndSession: partial(end_session, sessions=sessions, keys=keys),
        GetOwnUser: partial(get_own_user, sessions=sessions),
        ListOwnSessions: partial(list_own_sessions, sessions=sessions),
        EndOwnSession: partial(end_own_session, sessions=sessions),
        ChangePassword: partial(change_password, sign_in=sign_in, sessions=sessions, keys=keys),
        ListRevocations: partial(list_revocations, sessions=sessions),
        ProbeSessions: partial(probe_sessions, database=service.database),
    }


def build_cleaner(*, service: AuthService, settings: AuthSettings) -> Cleaner:
    """Make what deletes whatever has expired."""
    return Cleaner(
        service.database,
        interval_s=settings.clean_interval_s,
        attempts_window_s=settings.attempts_window_s,
        audit_days=settings.audit_days,
    )
