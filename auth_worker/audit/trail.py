"""Who signed in, from where and when; what failed; what was ended."""

from dataclasses import asdict, dataclass

from sqlalchemy import Row

from auth_worker.tables import audit, users
from postroad.storage.database import Database


@dataclass(frozen=True, slots=True)
class Entry:
    """One event; ``at`` is in seconds since 1970."""

    at: float
    what: str  # the event's name
    user_id: int | None = None
    session_id: str | None = None
    reason: str | None = None
    client_network: str | None = None


class AuditTrail:
    """Entries in the database; ``auth_worker.cleaning`` deletes those that are too old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event_id: str, entry: Entry) -> None:
        """Add an entry, unless the same event has one: it may be delivered twice."""
        with self._database.writing() as transaction:
            insert = transaction.insert(audit).on_conflict_do_nothing()
            transaction.connection.execute(insert.values(event_id=event_id, **asdict(entry)))

    def newest(self, limit: int, *, user_id: int | None = None) -> list[tuple[Entry, str | None]]:
        """Give the newest entries, of one user or of all, each with the user's name."""
        query = audit.outerjoin(users, users.c.id == audit.c.user_id).select()
        query = query.with_only_columns(*audit.c, users.c.username)
        if user_id is not None:
            query = query.where(audit.c.user_id == user_id)
        query = query.order_by(audit.c.at.desc(), audit.c.event_id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [(_entry(row), row.username) for row in connection.execute(query)]


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(
        at=row.at,
        what=row.what,
        user_id=row.user_id,
        session_id=row.session_id,
        reason=row.reason,
        client_network=row.client_network,
    )
