"""Proving by a password who one is: every step from there to a session, or to a new password."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Literal, NoReturn, TypeVar

from auth_worker.attempts import Attempt, Attempts
from auth_worker.devices import Devices
from auth_worker.networks import told_network
from auth_worker.password_policy import check_new
from auth_worker.passwords import Passwords
from auth_worker.sessions import Sessions, Tokens
from auth_worker.users import User, UserStore
from postroad.contracts.auth import PasswordChanged
from postroad.contracts.errors import InvalidCredentials, OutcomeUnknown, Unavailable
from postroad.contracts.events import LoginFailed, LoginSucceeded
from postroad.storage.database import Database, Transaction
from postroad.storage.outbox import Messages

T = TypeVar("T")
HashT = TypeVar("HashT")
Reason = Literal["unknown_user", "wrong_password", "disabled", "locked_out"]


@dataclass(frozen=True, slots=True)
class _Claim:
    """Somebody says who they are, and gives a password; the attempt is counted."""

    attempt: Attempt
    user: User | None  # none: nobody has that name
    password: str
    address: str | None


class SignIn:
    """Signs users in, and changes passwords: both limit how often one may be tried.

    Blocking, for a password check takes tens of milliseconds.
    """

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

        def begin(transaction: Transaction, current: User, renewed: str | None) -> Tokens:
            if renewed is not None:
                self._users.renew_hash(transaction, current, renewed)
            tokens = self._sessions.begin(transaction, current)
            if replaces is not None:
                self._sessions.replace(transaction, replaces)
            succeeded = LoginSucceeded(
                user_id=current.id,
                session_id=tokens.session_id,
                at=time(),
                client_network=told_network(address),
            )
            self._events.add(transaction, succeeded)
            return tokens

        device = self._devices.read(device_token, user) if device_token else None
        attempt = self._attempts.begin(username, address, device=device, deadline=deadline)
        claim = _Claim(attempt, user, password, address)
        return self._prove(claim, partial(self._passwords.renewed, password), begin)

    def change_password(
        self,
        user: User,
        password: str,
        new: str,
        address: str | None,
        *,
        session_id: str,
        device_token: str | None = None,
        deadline: float,
    ) -> PasswordChanged:
        """Replace the password of a user who is signed in, and end all their other sessions.

        Raises:
            BadPassword: the new one may not be chosen; this is not counted as a failure.
            InvalidCredentials: ``password`` is not the current one, or the user is disabled.
            TooManyAttempts: too often, as for a sign-in, with which this is counted.
            Unavailable: the database cannot do it now; this is not counted as a failure.
        """
        check_new(new)

        def change(transaction: Transaction, current: User, new_hash: str) -> PasswordChanged:
            changed, ended = self._users.change_password(
                transaction, current, new_hash, keeps=session_id
            )
            token = self._devices.issue(changed)
            return PasswordChanged(device_token=token, ended_sessions=ended)

        def hash_new(_: str) -> str:
            return self._passwords.hash(new)

        device = self._devices.read(device_token, user) if device_token else None
        attempt = self._attempts.begin(user.username, address, device=device, deadline=deadline)
        return self._prove(_Claim(attempt, user, password, address), hash_new, change)

    def _prove(
        self,
        claim: _Claim,
        hashed: Callable[[str], HashT],
        then: Callable[[Transaction, User, HashT], T],
    ) -> T:
        """Do something for a user who knows their password, in the transaction that says so.

        ``hashed`` makes what it needs of the user's hash: only for who may, and before the
        transaction, for it takes long.
        """
        user = claim.user
        try:
            known_hash = user.password_hash if user else None
            if not self._passwords.matches(claim.password, known_hash) or user is None:
                self._fail(claim, "wrong_password" if user else "unknown_user")
            reason: Reason = "disabled"
            if not user.is_disabled:  # else no more is hashed: the time would tell who was right
                made = hashed(user.password_hash)
                with self._database.writing() as transaction:
                    current = self._users.lock(transaction, user.id)
                    if current is not None and not current.is_disabled:
                        if current.password_version == user.password_version:
                            self._attempts.succeed(transaction, claim.attempt)
                            return then(transaction, current, made)
                        reason = "wrong_password"  # they have another one since a moment
            self._fail(claim, reason)
        except (Unavailable, OutcomeUnknown):
            self._attempts.interrupt(claim.attempt)
            raise

    def _fail(self, claim: _Claim, reason: Reason) -> NoReturn:
        with self._database.writing() as transaction:
            failed = self._attempts.fail(transaction, claim.attempt)
            self._events.add(transaction, _failed(claim, reason))
            if failed is not None:  # told now, and not by each attempt that is refused for it
                self._events.add(transaction, _failed(claim, "locked_out", failed))
        raise InvalidCredentials


def _failed(claim: _Claim, reason: Reason, attempts: int = 1) -> LoginFailed:
    return LoginFailed(
        user_id=claim.user.id if claim.user else None,
        reason=reason,
        at=time(),
        client_network=told_network(claim.address),
        attempts=attempts,
    )
