"""A service's database, with its outbox and inbox, opened and looked after by its programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Table

from postroad.observability.metrics import Metric
from postroad.settings import read_settings
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from postroad.storage.opening import open_database
from postroad.storage.outbox import Outbox, outbox_metrics
from postroad.storage.relay import OutboxPublisher, relay_of
from postroad.storage.retrying import held_during_outage, regularly
from postroad.storage.settings import DatabaseSettings
from postroad.storage.tables import Schema

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Store:
    """What ``serve`` and ``consume`` need to open a service's database.

    ``settings``: the type of its settings, read from the environment. ``outbox``, ``inbox``: the
    tables, where the service has them.
    """

    settings: type[DatabaseSettings]
    schema: Schema
    outbox: Table | None = None
    inbox: Table | None = None

    def open(self, *, is_development: bool) -> "OpenStore":
        """Open the database, or end the process with one sentence; in development, make it first.

        While the database is away this waits.
        """
        settings = read_settings(self.settings)
        database = open_database(settings, self.schema, is_development=is_development)
        return OpenStore(
            database,
            settings,
            outbox=None if self.outbox is None else Outbox(self.outbox),
            inbox=None if self.inbox is None else Inbox(self.inbox),
        )


class OpenStore:
    """An open database, and what a program does for it while it runs."""

    def __init__(
        self,
        database: Database,
        settings: DatabaseSettings,
        *,
        outbox: Outbox | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.database = database
        self.outbox = outbox
        self.inbox = inbox
        self._settings = settings

    async def relay(self, publisher: OutboxPublisher) -> None:
        """Send what is in the outbox until cancelled."""
        if self.outbox is not None:
            relay = relay_of(
                self.outbox, publisher, database=self.database, settings=self._settings
            )
            await relay.run()

    async def clean(self) -> None:
        """Delete messages from the inbox that are too old to come again, until cancelled."""
        await regularly(self.clean_once, interval_s=self._settings.clean_interval_s)

    def clean_once(self) -> None:
        """Delete messages from the inbox that are too old to come again.

        Raises:
            Unavailable: the database cannot do it now.
        """
        if self.inbox is not None:
            with self.database.writing() as transaction:
                self.inbox.clean(transaction)

    def held_during_outage(self, handler: Callable[[T], R]) -> Callable[[T], R]:
        """Return a handler that waits for the end of an outage, and is run again then."""
        return held_during_outage(handler, outage=self.database.problem)

    def metrics(self) -> list[Metric]:
        """Return what waits in the outbox."""
        return [] if self.outbox is None else outbox_metrics(self.outbox, self.database)

    def close(self) -> None:
        """Close its connections."""
        self.database.close()
