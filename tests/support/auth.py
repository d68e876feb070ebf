"""An auth service for the tests: its keys, its database, and callers who ask it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Barrier
from time import time
from typing import Any, TypeVar

from pydantic import SecretStr
from sqlalchemy import Table

from auth_worker.settings import AuthSettings
from auth_worker.tables import outbox
from auth_worker.users import User
from auth_worker.wiring import AuthService, build_handlers, build_service
from postroad.context import RequestContext, current_context
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    ChangePassword,
    CreateSession,
    EndSession,
    PasswordChanged,
    RefreshSession,
    Session,
    new_password_context,
    password_context,
)
from postroad.contracts.base import Event, Request
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.ids import new_id
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, TrustedService
from postroad.security.sealing import seal, unseal
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox

T = TypeVar("T")

PASSWORD = "correct horse battery staple"
WRONG = "Tr0ub4dor&3"
ADDRESS = "192.0.2.77"
EVENTS = {event.name: event for event in (LoginFailed, LoginSucceeded, SessionRevoked)}


def make_keys() -> dict[str, KeyRing]:
    """Make the keys of the services, by name."""
    identities = {name: Identity.create(name) for name in ("auth", "bridge", "catalog")}
    services = {
        name: TrustedService(
            keys=tuple(key.public() for key in identity.keys), issues_tokens=name == "auth"
        )
        for name, identity in identities.items()
    }
    trust = TrustBundle(services=services)
    return {name: KeyRing(identity, trust) for name, identity in identities.items()}


def make_settings(**changed: Any) -> AuthSettings:
    """Give settings with which a password check takes no time."""
    cheap = {"argon2_time_cost": 1, "argon2_memory_kib": 64, "argon2_parallelism": 1}
    return AuthSettings(**({"database_url": SecretStr("sqlite:///unused")} | cheap | changed))


@dataclass
class AuthUnderTest:
    """One replica of the auth service; requests reach its handlers as the worker hands them on."""

    database: Database
    keys: dict[str, KeyRing]
    settings: AuthSettings = field(default_factory=make_settings)
    is_development: bool = False

    def __post_init__(self) -> None:
        self.service: AuthService = build_service(
            self.settings,
            database=self.database,
            outbox=Outbox(outbox),
            keys=self.keys["auth"],
            is_development=self.is_development,
        )
        self.handlers = build_handlers(self.service)

    def add_user(self, username: str = "reader", password: str = PASSWORD, **more: Any) -> int:
        self.service.users.add(username, self.service.passwords.hash(password), **more)
        return self.user(username).id

    def user(self, username: str) -> User:
        found = self.service.users.find(username)
        assert found
        return found

    def ask(
        self,
        request: Request[Any],
        *,
        caller: str = "bridge",
        message_id: str | None = None,
        deadline: float | None = None,
        user: AccessToken | None = None,
    ) -> Any:
        """Hand a request to its handler; the same ``message_id`` makes it a redelivery."""
        deadline = deadline or time() + 10
        call = RequestContext(caller, message_id or new_id(), "request-1", deadline, user)

        def answer() -> Any:
            current_context.set(call)
            return self.handlers[type(request)](request)

        return copy_context().run(answer)

    def sign_in(
        self,
        username: str = "reader",
        password: str = PASSWORD,
        *,
        address: str | None = ADDRESS,
        device: str | None = None,
        replaces: str | None = None,
        caller: str = "bridge",
    ) -> Session:
        message_id, deadline = new_id(), round(time() + 10, 3)
        context = password_context(
            username, caller=caller, message_id=message_id, deadline=deadline
        )
        sealed = self.seal(password, context)
        request = CreateSession(
            username=username,
            sealed_password=sealed,
            client_address=address,
            device_token=device,
            sealed_refresh_token=None if replaces is None else self.seal(replaces),
        )
        answer: Session = self.ask(request, caller=caller, message_id=message_id, deadline=deadline)
        return answer

    def change_password(
        self,
        user: AccessToken | None,
        password: str,
        new: str,
        *,
        address: str | None = ADDRESS,
        device: str | None = None,
        message_id: str | None = None,
        deadline: float | None = None,
    ) -> PasswordChanged:
        sealed_for = message_id or new_id(), deadline or round(time() + 10, 3)
        names = {"caller": "bridge", "message_id": sealed_for[0]}
        contexts = [
            new_password_context(which, **names, deadline=sealed_for[1])
            for which in ("current", "new")
        ]
        request = ChangePassword(
            sealed_password=self.seal(password, contexts[0]),
            sealed_new_password=self.seal(new, contexts[1]),
            client_address=address,
            device_token=device,
        )
        answer: PasswordChanged = self.ask(
            request, message_id=sealed_for[0], deadline=sealed_for[1], user=user
        )
        return answer

    def refresh(
        self, token: str, *, caller: str = "bridge", message_id: str | None = None
    ) -> Session:
        request = RefreshSession(sealed_refresh_token=self.seal(token))
        answer: Session = self.ask(request, caller=caller, message_id=message_id)
        return answer

    def sign_out(self, *, user: AccessToken | None = None, token: str | None = None) -> None:
        sealed = None if token is None else self.seal(token)
        self.ask(EndSession(sealed_refresh_token=sealed), user=user)

    def seal(self, secret: str, context: str = REFRESH_CONTEXT) -> str:
        trust = self.keys["bridge"].trust
        return seal(secret, to="auth", context=context, trust=trust)

    def refresh_token(self, session: Session, *, caller: str = "bridge") -> str:
        """Open a session's refresh token as the caller does."""
        identity = self.keys[caller].identity
        return unseal(session.sealed_refresh_token, context=REFRESH_CONTEXT, identity=identity)

    def access_token(self, session: Session) -> AccessToken:
        """Verify a session's access token as everybody does."""
        return TokenVerifier(self.keys["bridge"], Revocations()).verify(session.access_token)

    def events(self) -> list[Event]:
        """Give what is in the outbox."""
        return [
            EVENTS[row.name].model_validate_json(row.body) for row in rows(self.database, outbox)
        ]


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def rows(database: Database, table: Table) -> list[Any]:
    """Give a table's rows, oldest first."""
    with database.reading() as connection:
        return list(connection.execute(table.select().order_by(*table.primary_key)))


def at_once(count: int, work: Callable[[int], T]) -> list[T | Exception]:
    """Do something in so many threads at the same moment; give what each returned or raised."""
    barrier = Barrier(count)

    def one(number: int) -> T | Exception:
        barrier.wait(10)
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Do something in a thread; the block can ask whether it has been done, soon if ever."""
    with ThreadPoolExecutor(1) as threads:
        doing = threads.submit(work)

        def is_done() -> bool:
            return bool(wait([doing], timeout=0.3).done)

        yield is_done
    doing.result(30)


def kinds(outcomes: list[Any]) -> dict[str, int]:
    """Count outcomes by type."""
    names = [type(outcome).__name__ for outcome in outcomes]
    return {name: names.count(name) for name in set(names)}
