"""Signing in: every step between a name with a password and a session."""

from time import time
from typing import Literal, NoReturn

from auth_worker.attempts import Attempt, Attempts
from auth_worker.devices import Devices
from auth_worker.networks import told_network
from auth_worker.passwords import Passwords
from auth_worker.sessions import Sessions, Tokens
from auth_worker.users import User, UserStore
from postroad.contracts.errors import InvalidCredentials, OutcomeUnknown, Unavailable
from postroad.contracts.events import LoginFailed, LoginSucceeded
from postroad.storage.database import Database
from postroad.storage.outbox import Messages

Reason = Literal["unknown_user", "wrong_password", "disabled", "locked_out"]


class SignIn:
    """Signs users in; blocking, for a password check takes tens of milliseconds."""

    def __init__(
        self,
        database: Database,
        events: Messages,
        *,
        users: UserStore,
        passwords: Passwords,
        attempts: Attempts,
        devices: Devices,
        sessions: Sessions,
    ) -> None:
        self._database = database
        self._events = events
        self._users = users
        self._passwords = passwords
        self._attempts = attempts
        self._devices = devices
        self._sessions = sessions

    def sign_in(
        self,
        username: str,
        password: str,
        address: str | None,
        *,
        device_token: str | None = None,
        replaces: str | None = None,
        deadline: float,
    ) -> Tokens:
        """Begin a session, or say no more than that it cannot be.

        ``device_token`` is one that an earlier session of the same client gave; the session of
        the refresh token ``replaces`` ends with it.

        Raises:
            InvalidCredentials: no such user, not the password, or the user is disabled.
            TooManyAttempts: this client, or all in this user's name, have failed too often.
            Unavailable: the database cannot do it now; this is not counted as a failure.
        """
        user = self._users.find(username)
        device = self._devices.read(device_token, user) if device_token else None
        attempt = self._attempts.begin(username, address, device=device, deadline=deadline)
        try:
            return self._finish(attempt, user, password, address, replaces)
        except (Unavailable, OutcomeUnknown):
            self._attempts.interrupt(attempt)
            raise

    def _finish(
        self,
        attempt: Attempt,
        user: User | None,
        password: str,
        address: str | None,
        replaces: str | None,
    ) -> Tokens:
        known_hash = user.password_hash if user else None
        if not self._passwords.matches(password, known_hash) or user is None:
            reason: Reason = "wrong_password" if user else "unknown_user"
            self._fail(attempt, user, address, reason)
        begun = self._begin_session(attempt, user, password, address, replaces)
        if not isinstance(begun, Tokens):
            self._fail(attempt, user, address, begun)
        return begun

    def _begin_session(
        self,
        attempt: Attempt,
        user: User,
        password: str,
        address: str | None,
        replaces: str | None,
    ) -> Tokens | Reason:
        """Begin a session, unless the user is disabled, or has another password since a moment."""
        if user.is_disabled:  # before more is hashed: that would tell by its time who was right
            return "disabled"
        new_hash = self._passwords.renewed(password, user.password_hash)
        with self._database.writing() as transaction:
            current = self._users.lock(transaction, user.id)
            if current is None or current.is_disabled:
                return "disabled"
            if current.password_version != user.password_version:
                return "wrong_password"
            if new_hash is not None:
                self._users.renew_hash(transaction, user, new_hash)
            self._attempts.succeed(transaction, attempt)
            tokens = self._sessions.begin(transaction, current)
            if replaces is not None:
                self._sessions.replace(transaction, replaces)
            succeeded = LoginSucceeded(
                user_id=user.id,
                session_id=tokens.session_id,
                at=time(),
                client_network=told_network(address),
            )
            self._events.add(transaction, succeeded)
        return tokens

    def _fail(
        self, attempt: Attempt, user: User | None, address: str | None, reason: Reason
    ) -> NoReturn:
        with self._database.writing() as transaction:
            failed = self._attempts.fail(transaction, attempt)
            self._events.add(transaction, _failed(user, address, reason))
            if failed is not None:  # told now, and not by each attempt that is refused for it
                self._events.add(transaction, _failed(user, address, "locked_out", failed))
        raise InvalidCredentials


def _failed(
    user: User | None, address: str | None, reason: Reason, attempts: int = 1
) -> LoginFailed:
    return LoginFailed(
        user_id=user.id if user else None,
        reason=reason,
        at=time(),
        client_network=told_network(address),
        attempts=attempts,
    )
