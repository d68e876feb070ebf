"""Events, kept in the database with the fact they tell of until the broker has them.

What is committed is told, however long the broker is away; what is rolled back never happened.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import time
from typing import Protocol

from sqlalchemy import or_

from auth_worker.database import Database, Transaction
from auth_worker.tables import outbox
from shared.contracts.base import Event
from shared.messaging.call import current_call
from shared.messaging.ids import new_id

_CORRELATION_ID_MAX = 200


class Events(Protocol):
    """Where events are written; ``Outbox`` says more."""

    def add(self, transaction: Transaction, event: Event) -> None: ...


class Outbox:
    """Takes events in; each has an id of its own, by which a listener knows it again."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def on_written(self, listener: Callable[[], None]) -> None:
        """Call this, in the writer's thread, each time events have been committed."""
        self._listeners.append(listener)

    def add(self, transaction: Transaction, event: Event) -> None:
        """Write an event that is told if, and only if, the transaction is committed."""
        event_id = new_id()
        transaction.connection.execute(
            outbox.insert().values(
                event_id=event_id,
                name=event.name,
                body=event.model_dump_json(),
                correlation_id=_correlation_id() or event_id,
                created_at=time(),
            )
        )
        for listener in self._listeners:
            transaction.after_commit(listener)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that waits to be sent."""

    event_id: str
    name: str
    body: bytes
    correlation_id: str


class OutboxReader:
    """Hands events out, each to one reader at a time: it has them until its lease ends.

    A reader that dies keeps nothing: what it had claimed is handed out again after the lease.
    """

    def __init__(
        self, database: Database, *, lease_s: float, clock: Callable[[], float] = time
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._clock = clock
        self._name = new_id()

    def claim(self, limit: int) -> list[StoredEvent]:
        """Take events that nobody else has, oldest first."""
        now = self._clock()
        free = or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now)
        oldest = outbox.select().where(free).order_by(outbox.c.position).limit(limit)
        with self._database.reading() as connection:
            if connection.execute(oldest.limit(1)).first() is None:
                return []  # looking takes no lock
        with self._database.writing() as transaction:
            rows = transaction.connection.execute(oldest.with_for_update(skip_locked=True)).all()
            transaction.connection.execute(
                outbox.update()
                .where(outbox.c.position.in_([row.position for row in rows]))
                .values(claimed_by=self._name, claimed_until=now + self._lease_s)
            )
        return [
            StoredEvent(row.event_id, row.name, row.body.encode(), row.correlation_id)
            for row in rows
        ]

    def settle(self, sent: Collection[str]) -> None:
        """Delete what was sent, by event id, and give back whatever else is claimed."""
        with self._database.writing() as transaction:
            transaction.connection.execute(outbox.delete().where(outbox.c.event_id.in_(sent)))
            transaction.connection.execute(
                outbox.update()
                .where(outbox.c.claimed_by == self._name)
                .values(claimed_by=None, claimed_until=None)
            )


def _correlation_id() -> str:
    """Give the id of the request being answered, without what PostgreSQL takes for no text."""
    call = current_call.get(None)
    given = call.correlation_id if call else ""
    return "".join(filter(str.isprintable, given))[:_CORRELATION_ID_MAX]
