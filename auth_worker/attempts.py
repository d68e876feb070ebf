"""How often somebody may fail to sign in, counted in the database for all replicas together.

An attempt is counted before its password is looked at, and taken back if it succeeds; so however
many come at once, no more passwords are tried than the limit allows. While those under way could
reach the limit, a further attempt waits for them: the right password is not refused for coming
at the same moment as others.

Failures in a user's name count by the network that they come from, so that nobody keeps the user
out from elsewhere; over all networks, by a looser limit; and from a client that the user has
signed in from before (``devices``) by that client alone.
"""

import hashlib
import math
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import sleep, time

from sqlalchemy import and_, func, select

from auth_worker.networks import counted_network
from auth_worker.settings import AuthSettings
from auth_worker.tables import sign_in_failures
from postroad.contracts.errors import OutcomeUnknown, TooManyAttempts, Unavailable
from postroad.ids import new_id
from postroad.storage.database import Database, Transaction

_ALL_NETWORKS = 10  # times as many as from one network may fail in a user's name from all
_LOOK_AGAIN_S = 0.05
_WAIT_AT_MOST_S = 3.0
_UNDER_WAY_AT_MOST_S = 30.0  # a worker that has not settled an attempt by then has died


@dataclass(frozen=True, slots=True)
class Limit:
    """How many may fail that are counted under a key."""

    key: str
    failures: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is counted, and may be made; the strictest limit comes first."""

    id: str
    limits: tuple[Limit, ...]


class Attempts:
    """Counts the attempts against a user name, from a client address and from a known client."""

    def __init__(
        self,
        database: Database,
        settings: AuthSettings,
        *,
        clock: Callable[[], float] = time,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._pause = pause
        self._interrupted: set[str] = set()

    def begin(
        self, username: str, address: str | None, *, device: str | None = None, deadline: float
    ) -> Attempt:
        """Count an attempt, or refuse it; its end is to be told by ``fail`` or ``succeed``.

        ``device`` is the id of a client from which the user has signed in before.
        ``deadline`` is when nobody waits for the answer any more, in seconds since 1970.

        Raises:
            TooManyAttempts: too many have failed; the error says when to try again.
        """
        limits = self._limits(username, address, device)
        give_up_at = min(self._clock() + _WAIT_AT_MOST_S, deadline)
        while True:
            attempt = Attempt(new_id(), limits)
            try:
                with self._database.writing() as transaction:
                    is_counted = self._count(transaction, attempt)
            except OutcomeUnknown:
                self.interrupt(attempt)
                raise
            if is_counted:
                return attempt
            if self._clock() >= give_up_at:
                raise TooManyAttempts(retry_after_s=1)
            self._pause(_LOOK_AGAIN_S)

    def fail(self, transaction: Transaction, attempt: Attempt) -> int | None:
        """Let an attempt count as failed; return how many have, if no more may for a while."""
        for limit in attempt.limits:
            _lock(transaction, limit.key)
        transaction.connection.execute(
            sign_in_failures.update()
            .where(sign_in_failures.c.attempt_id == attempt.id)
            .values(is_settled=True)
        )
        now = self._clock()
        failed = {limit: len(self._recent(transaction, limit, now)[1]) for limit in attempt.limits}
        return max((n for limit, n in failed.items() if n >= limit.failures), default=None)

    def succeed(self, transaction: Transaction, attempt: Attempt) -> None:
        """Take an attempt back, and forget the failures of the same client in the user's name."""
        of_client = and_(
            sign_in_failures.c.key == attempt.limits[0].key, sign_in_failures.c.is_settled.is_(True)
        )
        transaction.connection.execute(sign_in_failures.delete().where(of_client))
        own = sign_in_failures.c.attempt_id == attempt.id
        transaction.connection.execute(sign_in_failures.delete().where(own))

    def interrupt(self, attempt: Attempt) -> None:
        """Take back what the database kept from ending: now if it can, else when it can."""
        self._interrupted.add(attempt.id)
        with suppress(Unavailable, OutcomeUnknown):
            self.withdraw_interrupted()

    def withdraw_interrupted(self) -> None:
        """Take back what was interrupted: nobody was told how it ended, so it is not a failure."""
        ids = list(self._interrupted)
        if ids:
            with self._database.writing() as transaction:
                own = sign_in_failures.c.attempt_id.in_(ids)
                transaction.connection.execute(sign_in_failures.delete().where(own))
            self._interrupted.difference_update(ids)

    def _limits(self, username: str, address: str | None, device: str | None) -> tuple[Limit, ...]:
        """Give the limits that apply, always in the same order, as they are locked in it."""
        of_user, network = user_key(username), counted_network(address)
        per_user = self._settings.attempts_per_user
        if device is not None:
            return (Limit(_hash("device", device), per_user),)
        limits = [
            Limit(_hash("user and network", f"{of_user} {network}"), per_user),
            Limit(of_user, per_user * _ALL_NETWORKS),
        ]
        if network is not None:
            key = _hash("address", network)
            limits.append(Limit(key, self._settings.attempts_per_address))
        return tuple(limits)

    def _count(self, transaction: Transaction, attempt: Attempt) -> bool:
        now = self._clock()
        is_free = all(self._has_room(transaction, limit, now) for limit in attempt.limits)
        if is_free:
            rows = [
                {"attempt_id": attempt.id, "key": limit.key, "at": now, "is_settled": False}
                for limit in attempt.limits
            ]
            transaction.connection.execute(sign_in_failures.insert(), rows)
        return is_free

    def _has_room(self, transaction: Transaction, limit: Limit, now: float) -> bool:
        """Say whether one more may be tried, or whether it has to wait for those under way.

        Raises:
            TooManyAttempts: it may not.
        """
        _lock(transaction, limit.key)
        attempts, failed = self._recent(transaction, limit, now)
        if len(failed) >= limit.failures:
            free_at = failed[limit.failures - 1] + self._settings.attempts_window_s
            raise TooManyAttempts(retry_after_s=max(1, math.ceil(free_at - now)))
        return attempts < limit.failures

    def _recent(
        self, transaction: Transaction, limit: Limit, now: float
    ) -> tuple[int, list[float]]:
        """Return how many attempts the window has, and the times of those that failed."""
        window_s = self._settings.attempts_window_s
        attempts = transaction.connection.execute(
            select(sign_in_failures.c.at, sign_in_failures.c.is_settled)
            .where(sign_in_failures.c.key == limit.key, sign_in_failures.c.at > now - window_s)
            .order_by(sign_in_failures.c.at.desc())
        ).all()
        failed = [
            row.at for row in attempts if row.is_settled or row.at <= now - _UNDER_WAY_AT_MOST_S
        ]
        return len(attempts), failed


def user_key(username: str) -> str:
    """Give the key of a user name's count, the same for spellings that look the same."""
    return _hash("user", unicodedata.normalize("NFKC", username).casefold().strip())


def _hash(kind: str, text: str) -> str:
    """Hash what is counted, as people type passwords where a name belongs."""
    return hashlib.sha256(f"{kind}\0{text}".encode()).hexdigest()


def _lock(transaction: Transaction, key: str) -> None:
    """Keep others from counting on the same key; SQLite has one writer at a time anyway."""
    if transaction.connection.dialect.name == "postgresql":
        number = int.from_bytes(bytes.fromhex(key)[:8], signed=True)
        transaction.connection.execute(select(func.pg_advisory_xact_lock(number)))
