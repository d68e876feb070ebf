"""An outbox with events in it, and those who read it."""

from auth_worker.tables import outbox
from postroad.contracts.events import SessionRevoked
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox, OutboxReader
from tests.support.auth import Clock, rows


def write(database: Database, count: int, *, written: Outbox | None = None) -> list[str]:
    """Write events, and give their ids in order."""
    with database.writing() as transaction:
        for number in range(count):
            event = SessionRevoked(session_id=str(number), user_id=1, until=2.5)
            (written or Outbox(outbox)).add(transaction, event)
    return [row.message_id for row in rows(database, outbox)]


def reader(database: Database, clock: Clock | None = None) -> OutboxReader:
    return OutboxReader(database, outbox, lease_s=30, **({"clock": clock} if clock else {}))
