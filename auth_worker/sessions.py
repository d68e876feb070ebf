"""Sessions: a user who has signed in, the tokens they hold, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any

from sqlalchemy import Row

from auth_worker.devices import Devices
from auth_worker.refresh_tokens import (
    Rotation,
    find_token,
    mark_used,
    new_token,
    store_token,
)
from auth_worker.revocation import end_sessions
from auth_worker.tables import sessions
from auth_worker.tokens import TokenIssuer
from auth_worker.users import User, UserStore
from postroad.contracts.auth import Revocation
from postroad.contracts.errors import InvalidRefreshToken
from postroad.ids import new_id
from postroad.storage.database import Database, Transaction
from postroad.storage.outbox import Messages


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the user of a session holds; the lifetimes are in seconds."""

    session_id: str
    user_id: int
    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    device_token: str


class Sessions:
    """Sessions in the database.

    Of a session, its user's row is locked first, then its own, so that whoever disables the user
    and whoever else uses the session wait for one another.
    """

    def __init__(
        self,
        database: Database,
        events: Messages,
        *,
        users: UserStore,
        issuer: TokenIssuer,
        rotation: Rotation,
        devices: Devices,
        refresh_lifetime_s: int,
        clock: Callable[[], float] = time,
    ) -> None:
        self._database = database
        self._events = events
        self._users = users
        self._issuer = issuer
        self._rotation = rotation
        self._devices = devices
        self._refresh_lifetime_s = refresh_lifetime_s
        self._clock = clock

    def begin(self, transaction: Transaction, user: User) -> Tokens:
        """Begin a session of a user who has proved who they are, and is locked."""
        session_id, now = new_id(), self._clock()
        transaction.connection.execute(
            sessions.insert().values(
                id=session_id, user_id=user.id, created_at=now, access_until=now, refresh_until=now
            )
        )
        return self._hand_out(transaction, user, session_id, new_token())

    def refresh(self, token: str, use: str) -> Tokens:
        """Trade a refresh token for new tokens; ``use`` names the request that does.

        A second use of a token by another request ends the session.

        Raises:
            InvalidRefreshToken: it is not one of ours, has expired, or has been used.
        """
        with self._database.writing() as transaction:
            tokens = self._refresh(transaction, token, use)
        if tokens is None:  # raised only now: what ended the session is to be committed
            raise InvalidRefreshToken
        return tokens

    def end(self, session_id: str) -> None:
        """End a session, unless it has ended."""
        with self._database.writing() as transaction:
            which = sessions.c.id == session_id
            end_sessions(transaction, which, "signed_out", events=self._events)

    def end_by_token(self, token: str) -> None:
        """End the session of a refresh token, even of one that has been used.

        Raises:
            InvalidRefreshToken: it is not one of ours.
        """
        with self._database.writing() as transaction:
            found = find_token(transaction, token)
            if found is None:
                raise InvalidRefreshToken
            which = sessions.c.id == found.session_id
            end_sessions(transaction, which, "signed_out", events=self._events)

    def user_of(self, session_id: str) -> User | None:
        """Give the user of a session that has not ended."""
        query = sessions.select().where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
        with self._database.reading() as connection:
            session = connection.execute(query).one_or_none()
        user = self._users.get(session.user_id) if session else None
        return None if user is None or user.is_disabled else user

    def revoked(self) -> list[Revocation]:
        """Give the sessions that ended before the last of their access tokens expires."""
        query = sessions.select().where(
            sessions.c.ended_at.is_not(None), sessions.c.access_until > self._clock()
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [Revocation(session_id=row.id, until=row.access_until) for row in rows]

    def _refresh(self, transaction: Transaction, token: str, use: str) -> Tokens | None:
        found = find_token(transaction, token)
        if found is None:
            return None
        user = self._users.lock(transaction, found.user_id)
        is_open = _lock_open(transaction, found.session_id)
        if user is None or user.is_disabled or not is_open:
            return None
        row = find_token(transaction, token)  # as it is now that nobody else can use it
        if row is None or (row.used_at is None and row.expires_at <= self._clock()):
            return None
        if row.used_at is None:
            return self._rotate(transaction, user, row, token, use)
        if row.used_by == use:
            return self._repeat(transaction, user, row, token, use)
        which = sessions.c.id == row.session_id
        end_sessions(transaction, which, "token_reused", events=self._events)
        return None

    def _rotate(
        self, transaction: Transaction, user: User, row: Row[Any], token: str, use: str
    ) -> Tokens:
        mark_used(transaction, token, at=self._clock(), use=use)
        new = self._rotation.next(token, use)
        return self._hand_out(transaction, user, row.session_id, new)

    def _repeat(
        self, transaction: Transaction, user: User, row: Row[Any], token: str, use: str
    ) -> Tokens | None:
        """Answer a request again; none if the key that made its token is no more."""
        for new in self._rotation.possible(token, use):
            stored = find_token(transaction, new)
            if stored is not None:
                left_s = max(0, int(stored.expires_at - self._clock()))
                return self._issue(transaction, user, row.session_id, new, left_s)
        return None

    def _hand_out(
        self, transaction: Transaction, user: User, session_id: str, token: str
    ) -> Tokens:
        """Make a refresh token the session's newest, and give it with an access token."""
        expires_at = self._clock() + self._refresh_lifetime_s
        store_token(transaction, token, session_id=session_id, expires_at=expires_at)
        transaction.connection.execute(
            sessions.update().where(sessions.c.id == session_id).values(refresh_until=expires_at)
        )
        return self._issue(transaction, user, session_id, token, self._refresh_lifetime_s)

    def _issue(
        self,
        transaction: Transaction,
        user: User,
        session_id: str,
        refresh_token: str,
        refresh_expires_in: int,
    ) -> Tokens:
        now = int(self._clock())
        expires_in = self._issuer.lifetime_s
        transaction.connection.execute(
            sessions.update()
            .where(sessions.c.id == session_id)
            .values(access_until=now + expires_in)
        )
        access_token = self._issuer.issue(user, session_id, now=now)
        return Tokens(
            session_id,
            user.id,
            access_token,
            expires_in,
            refresh_token,
            refresh_expires_in,
            self._devices.issue(user),
        )


def _lock_open(transaction: Transaction, session_id: str) -> bool:
    """Keep everybody else from a session; false if it has ended."""
    query = sessions.select().where(sessions.c.id == session_id).with_for_update(key_share=True)
    session = transaction.connection.execute(query).one_or_none()
    return session is not None and session.ended_at is None
