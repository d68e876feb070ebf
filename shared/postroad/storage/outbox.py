"""Events and jobs, kept in the database with their reason until the broker has them.

What is committed is sent, however long the broker is away; what is rolled back never happened.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from time import time
from typing import Protocol

from sqlalchemy import Table, func, or_, select

from postroad.broker.interfaces import TooLarge
from postroad.context import current_context
from postroad.contracts.base import Event, Job
from postroad.ids import new_id
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.messaging.publishing import Kind
from postroad.observability.metrics import Metric, Values, number
from postroad.observability.trace_context import TraceContext, current_trace, parse
from postroad.storage.database import Database, Transaction

_CORRELATION_ID_MAX = 200


class Messages(Protocol):
    """Where events and jobs are written; ``Outbox`` says more."""

    def add(self, transaction: Transaction, message: Event | Job) -> None: ...
    def add_all(self, transaction: Transaction, messages: Iterable[Event | Job]) -> None: ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be sent, and since when, in seconds since 1970."""

    messages: int
    oldest_at: float | None


class Outbox:
    """Takes messages in; each has an id of its own, by which its reader knows it again."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._listeners: list[Callable[[], None]] = []

    def on_written(self, listener: Callable[[], None]) -> None:
        """Call this, in the writer's thread, each time messages have been committed."""
        self._listeners.append(listener)

    def add(self, transaction: Transaction, message: Event | Job) -> None:
        """Write a message that is sent if, and only if, the transaction is committed."""
        self.add_all(transaction, [message])

    def add_all(self, transaction: Transaction, messages: Iterable[Event | Job]) -> None:
        """Write messages, to be sent in this order.

        Raises:
            TooLarge: no broker would take one of them.
        """
        now, correlation_id, trace = time(), _correlation_id(), current_trace.get()
        rows = [
            {
                "kind": "job" if isinstance(message, Job) else "event",
                "message_id": (message_id := new_id()),
                "name": message.name,
                "body": message.model_dump_json(),
                "correlation_id": correlation_id or message_id,
                "traceparent": trace.traceparent if trace else None,
                "created_at": now,
            }
            for message in messages
        ]
        if not rows:
            return
        for body in [str(row["body"]).encode() for row in rows]:
            if len(body) > MESSAGE_MAX_BYTES:
                raise TooLarge(body)
        transaction.connection.execute(self.table.insert(), rows)
        for listener in self._listeners:
            transaction.after_commit(listener)

    def backlog(self, database: Database) -> Backlog:
        """Count what waits to be sent.

        Raises:
            Unavailable: the database is away.
        """
        question = select(func.count(), func.min(self.table.c.created_at))
        with database.reading() as connection:
            return Backlog(*connection.execute(question).one())


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message that waits to be sent."""

    kind: Kind
    message_id: str
    name: str
    body: bytes
    correlation_id: str
    trace: TraceContext | None


class OutboxReader:
    """Hands messages out, each to one reader at a time: it has them until its lease ends.

    A reader that dies keeps nothing: what it had claimed is handed out again after the lease.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        *,
        lease_s: float,
        clock: Callable[[], float] = time,
    ) -> None:
        self._database = database
        self._table = table
        self._lease_s = lease_s
        self._clock = clock
        self._name = new_id()

    def claim(self, limit: int) -> list[StoredMessage]:
        """Take messages that nobody else has, oldest first."""
        now, columns = self._clock(), self._table.c
        free = or_(columns.claimed_until.is_(None), columns.claimed_until <= now)
        oldest = self._table.select().where(free).order_by(columns.position).limit(limit)
        with self._database.reading() as connection:
            if connection.execute(oldest.limit(1)).first() is None:
                return []  # looking takes no lock
        with self._database.writing() as transaction:
            rows = transaction.connection.execute(oldest.with_for_update(skip_locked=True)).all()
            transaction.connection.execute(
                self._table.update()
                .where(columns.position.in_([row.position for row in rows]))
                .values(claimed_by=self._name, claimed_until=now + self._lease_s)
            )
        return [
            StoredMessage(
                row.kind,
                row.message_id,
                row.name,
                row.body.encode(),
                row.correlation_id,
                parse(row.traceparent),
            )
            for row in rows
        ]

    def settle(self, sent: Collection[str]) -> None:
        """Delete what was sent, by message id, and give back whatever else is claimed."""
        columns = self._table.c
        with self._database.writing() as transaction:
            transaction.connection.execute(self._table.delete().where(columns.message_id.in_(sent)))
            transaction.connection.execute(
                self._table.update()
                .where(columns.claimed_by == self._name)
                .values(claimed_by=None, claimed_until=None)
            )


def _correlation_id() -> str:
    """Give the id of the request being answered, without what PostgreSQL takes for no text."""
    call = current_context.get(None)
    given = call.correlation_id if call else ""
    return "".join(filter(str.isprintable, given))[:_CORRELATION_ID_MAX]


def outbox_metrics(outbox: Outbox, database: Database) -> list[Metric]:
    """Messages that wait for the broker; every replica of a service tells of the same ones."""

    def oldest_age_s() -> Values:
        oldest = outbox.backlog(database).oldest_at
        return {(): max(0.0, time() - oldest) if oldest is not None else 0.0}

    return [
        Metric(
            "gauge",
            "postroad_outbox_messages",
            "Messages in the outbox, which the broker does not have yet",
            number(lambda: outbox.backlog(database).messages),
        ),
        Metric(
            "gauge",
            "postroad_outbox_oldest_age_seconds",
            "Age of the oldest message in the outbox; 0 when it is empty",
            oldest_age_s,
        ),
    ]
