"""Sessions: a user who has signed in, the tokens they hold, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any

from sqlalchemy import Row, and_, or_, select

from auth_worker.devices import Devices
from auth_worker.refresh_tokens import (
    Rotation,
    find_token,
    mark_used,
    new_token,
    store_token,
)
from auth_worker.revocation import end_sessions
from auth_worker.tables import audit, sessions
from auth_worker.tokens import TokenIssuer
from auth_worker.users import User, UserStore
from postroad.contracts.auth import SESSIONS_LISTED, OwnSession, Revocation
from postroad.contracts.errors import InvalidRefreshToken, SessionNotFound
from postroad.contracts.events import LoginSucceeded
from postroad.ids import new_id
from postroad.storage.database import Database, Transaction
from postroad.storage.outbox import Messages

SESSIONS_MAX = 1000  # of a user; each one's end is an event, all of which wait for one another


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


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what a session gives is good, and the session itself."""

    access_s: int
    refresh_s: int
    session_s: int


@dataclass(frozen=True, slots=True)
class _Open:
    """A session that has not ended, and when it does in any case."""

    id: str
    ends_at: float


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
        lifetimes: Lifetimes,
        clock: Callable[[], float] = time,
    ) -> None:
        self._database = database
        self._events = events
        self._users = users
        self._issuer = issuer
        self._rotation = rotation
        self._devices = devices
        self._lifetimes = lifetimes
        self._clock = clock

    def begin(self, transaction: Transaction, user: User) -> Tokens:
        """Begin a session of a user who has proved who they are, and is locked.

        Beyond ``SESSIONS_MAX``, those that were refreshed longest ago end.
        """
        newest_first = select(sessions.c.id).order_by(sessions.c.access_until.desc(), sessions.c.id)
        is_open = (sessions.c.user_id == user.id) & sessions.c.ended_at.is_(None)
        surplus = sessions.c.id.in_(newest_first.where(is_open).offset(SESSIONS_MAX - 1))
        end_sessions(transaction, surplus, "replaced", events=self._events)
        session_id, now = new_id(), self._clock()
        transaction.connection.execute(
            sessions.insert().values(
                id=session_id, user_id=user.id, created_at=now, access_until=now, refresh_until=now
            )
        )
        session = _Open(session_id, now + self._lifetimes.session_s)
        return self._hand_out(transaction, user, session, new_token())

    def refresh(self, token: str, use: str) -> Tokens:
        """Trade a refresh token for new tokens; ``use`` names the request that does.

        A second use of a token by another request ends the session.

        Raises:
            InvalidRefreshToken: it is not one of ours, has expired, or has been used, or its
                session is as old as one may be.
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

    def replace(self, transaction: Transaction, token: str) -> None:
        """End the session of a refresh token for another one; what is none of ours is left."""
        found = find_token(transaction, token)
        if found is not None:
            which = sessions.c.id == found.session_id
            end_sessions(transaction, which, "replaced", events=self._events)

    def user_of(self, session_id: str) -> User | None:
        """Give the user of a session that has not ended."""
        query = sessions.select().where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
        with self._database.reading() as connection:
            session = connection.execute(query).one_or_none()
        user = self._users.get(session.user_id) if session else None
        return None if user is None or user.is_disabled else user

    def open_of(self, user: User, *, current: str) -> list[OwnSession]:
        """Give a user's sessions that have not ended, the last refreshed first.

        Where each began is in the audit, whose entries are found by user: they are indexed so.
        """
        now = self._clock()
        is_entry = and_(
            audit.c.user_id == sessions.c.user_id,
            audit.c.session_id == sessions.c.id,
            audit.c.what == LoginSucceeded.name,
        )
        query = (
            select(sessions, audit.c.client_network)
            .outerjoin(audit, is_entry)
            .where(
                sessions.c.user_id == user.id,
                sessions.c.ended_at.is_(None),
                sessions.c.created_at > now - self._lifetimes.session_s,
                or_(sessions.c.access_until > now, sessions.c.refresh_until > now),
            )
            .order_by(sessions.c.access_until.desc(), sessions.c.id)
            .limit(SESSIONS_LISTED)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [self._told(row, current) for row in rows]

    def end_of(self, user: User, session_id: str) -> None:
        """End a session of a user's, unless it has ended.

        Raises:
            SessionNotFound: there is none, or it is another user's.
        """
        which = (sessions.c.id == session_id) & (sessions.c.user_id == user.id)
        with self._database.writing() as transaction:
            if transaction.connection.execute(select(sessions.c.id).where(which)).first() is None:
                raise SessionNotFound(f"no session {session_id}")
            end_sessions(transaction, which, "signed_out", events=self._events)

    def revoked(self, *, after: str = "", limit: int | None = None) -> list[Revocation]:
        """Return ended sessions whose last access token has not expired yet, sorted by id."""
        query = (
            sessions.select()
            .where(
                sessions.c.ended_at.is_not(None),
                sessions.c.access_until > self._clock(),
                sessions.c.id > after,
            )
            .order_by(sessions.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [Revocation(session_id=row.id, until=row.access_until) for row in rows]

    def _told(self, row: Row[Any], current: str) -> OwnSession:
        """Say what its user sees of a session; tokens are handed out together."""
        return OwnSession(
            session_id=row.id,
            created_at=row.created_at,
            refreshed_at=max(row.created_at, row.access_until - self._lifetimes.access_s),
            client_network=row.client_network,
            is_current=row.id == current,
        )

    def _refresh(self, transaction: Transaction, token: str, use: str) -> Tokens | None:
        found = find_token(transaction, token)
        if found is None:
            return None
        user = self._users.lock(transaction, found.user_id)
        session = self._lock_open(transaction, found.session_id)
        if user is None or user.is_disabled or session is None:
            return None
        row = find_token(transaction, token)  # as it is now that nobody else can use it
        if row is None or (row.used_at is None and row.expires_at <= self._clock()):
            return None
        if row.used_at is None:
            return self._rotate(transaction, user, session, token, use)
        if row.used_by == use:
            return self._repeat(transaction, user, session, token, use)
        which = sessions.c.id == row.session_id
        end_sessions(transaction, which, "token_reused", events=self._events)
        return None

    def _rotate(
        self, transaction: Transaction, user: User, session: _Open, token: str, use: str
    ) -> Tokens:
        mark_used(transaction, token, at=self._clock(), use=use)
        new = self._rotation.next(token, use)
        return self._hand_out(transaction, user, session, new)

    def _repeat(
        self, transaction: Transaction, user: User, session: _Open, token: str, use: str
    ) -> Tokens | None:
        """Answer a request again; none if the key that made its token is no more."""
        for new in self._rotation.possible(token, use):
            stored = find_token(transaction, new)
            if stored is not None:
                return self._issue(transaction, user, session, new, stored.expires_at)
        return None

    def _hand_out(self, transaction: Transaction, user: User, session: _Open, token: str) -> Tokens:
        """Make a refresh token the session's newest, and give it with an access token."""
        expires_at = min(self._clock() + self._lifetimes.refresh_s, session.ends_at)
        store_token(transaction, token, session_id=session.id, expires_at=expires_at)
        transaction.connection.execute(
            sessions.update().where(sessions.c.id == session.id).values(refresh_until=expires_at)
        )
        return self._issue(transaction, user, session, token, expires_at)

    def _issue(
        self,
        transaction: Transaction,
        user: User,
        session: _Open,
        refresh_token: str,
        refresh_until: float,
    ) -> Tokens:
        now = int(self._clock())
        expires_in = max(1, min(self._lifetimes.access_s, int(session.ends_at) - now))
        transaction.connection.execute(
            sessions.update()
            .where(sessions.c.id == session.id)
            .values(access_until=now + expires_in)
        )
        access_token = self._issuer.issue(user, session.id, now=now, lifetime_s=expires_in)
        return Tokens(
            session.id,
            user.id,
            access_token,
            expires_in,
            refresh_token,
            max(0, round(refresh_until - self._clock())),
            self._devices.issue(user),
        )

    def _lock_open(self, transaction: Transaction, session_id: str) -> _Open | None:
        """Keep everybody else from a session; none if it has ended, or is too old."""
        query = sessions.select().where(sessions.c.id == session_id).with_for_update(key_share=True)
        row = transaction.connection.execute(query).one_or_none()
        if row is None or row.ended_at is not None:
            return None
        ends_at = row.created_at + self._lifetimes.session_s
        return _Open(session_id, ends_at) if ends_at > self._clock() else None
