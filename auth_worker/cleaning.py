"""Deleting what has expired, so that the database does not grow for ever."""

from collections.abc import Callable
from time import time

from sqlalchemy import and_, or_

from auth_worker.tables import audit, refresh_tokens, sessions, sign_in_failures
from postroad.storage.database import Database
from postroad.storage.retrying import regularly


class Cleaner:
    """Cleans up every now and then until cancelled; any number of replicas may."""

    def __init__(
        self,
        database: Database,
        *,
        interval_s: float,
        attempts_window_s: float,
        audit_days: int,
        clock: Callable[[], float] = time,
    ) -> None:
        self._database = database
        self._interval_s = interval_s
        self._attempts_window_s = attempts_window_s
        self._audit_s = audit_days * 86_400
        self._clock = clock

    async def run(self) -> None:
        """Clean until cancelled."""
        await regularly(self.clean, interval_s=self._interval_s)

    def clean(self) -> int:
        """Delete what matters no more, and say how many rows that were.

        A used refresh token is kept for as long as it would be good, so that its reuse is seen;
        an ended session until its last access token expires, so that the revocation is known.
        """
        now = self._clock()
        is_over = and_(
            sessions.c.access_until <= now,
            or_(sessions.c.refresh_until <= now, sessions.c.ended_at.is_not(None)),
        )
        too_old = sign_in_failures.c.at <= now - self._attempts_window_s
        with self._database.writing() as transaction:
            deleted = [
                transaction.connection.execute(statement).rowcount
                for statement in (
                    sessions.delete().where(is_over),  # its refresh tokens go with it
                    refresh_tokens.delete().where(refresh_tokens.c.expires_at <= now),
                    sign_in_failures.delete().where(too_old),
                    audit.delete().where(audit.c.at <= now - self._audit_s),
                )
            ]
        return sum(deleted)
