"""Opening a service's database, with its outbox and inbox, once its schema is the newest."""

import re
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TypeVar

import structlog
from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select
from sqlalchemy import exc as sql_errors

from postroad.contracts.errors import OutcomeUnknown, Unavailable
from postroad.observability.logging import configure_logging
from postroad.observability.metrics import Metric
from postroad.settings import LogSettings, read_settings
from postroad.storage.database import Database, InvalidDatabaseUrl, database_url
from postroad.storage.inbox import Inbox
from postroad.storage.outbox import Outbox, outbox_metrics
from postroad.storage.relay import OutboxPublisher, relay_of
from postroad.storage.retrying import held_during_outage, regularly
from postroad.storage.settings import DatabaseSettings
from postroad.storage.tables import Schema, SchemaError

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R")

_RETRY_S = 1.0
_NUMBERED = re.compile(r"(.*?)(\d+)")  # catalog_0003
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String))  # Alembic's own


def require_schema(database: Database, schema: Schema) -> None:
    """Make sure that the database is as this version needs it.

    A newer one will do: migrations take nothing away that the version before needs, which has to
    start, too, while services are upgraded one by one, or go back.

    Raises:
        SchemaError: it is not.
        Unavailable: it cannot do it now.
    """
    newest = schema.newest
    found = None
    is_sqlite = database.url.get_backend_name() == "sqlite"
    if not is_sqlite or Path(database.url.database or "").exists():
        try:
            with database.reading() as connection:
                found = _revision(connection)
        except sql_errors.DatabaseError as error:
            raise SchemaError(f"{database} cannot be read: {error.orig}") from error
    if found is None or not _is_at_least(found, newest):
        raise SchemaError(
            f"the schema of {database} is {found or 'missing'}, not {newest}; run: {schema.command}"
        )


def _is_at_least(found: str, newest: str) -> bool:
    """Compare two revisions of one service; those of another have another name."""
    one, other = _NUMBERED.fullmatch(found), _NUMBERED.fullmatch(newest)
    if one is None or other is None:
        return False
    return one[1] == other[1] and int(one[2]) >= int(other[2])


def open_database(settings: DatabaseSettings, schema: Schema, *, is_development: bool) -> Database:
    """Open the database, once it is there, or end the process with one sentence.

    In development, what is missing is made first.
    """
    try:
        while True:
            url = database_url(settings)  # each time: its password may be put right meanwhile
            try:
                _look(url, schema, makes_it=is_development)
            except (Unavailable, OutcomeUnknown) as error:
                reason = str(error)
                log.warning("waiting", setting=settings.url_variable(), reason=reason)
                sleep(_RETRY_S)
            else:
                return Database(url)
    except (InvalidDatabaseUrl, SchemaError) as error:
        print(f"cannot start: {settings.url_variable()}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


def run_migration(settings_type: type[DatabaseSettings], schema: Schema) -> None:
    """Migrate the database that the environment names, or end the process with one sentence."""
    settings = read_settings(settings_type)
    configure_logging(schema.service, read_settings(LogSettings))
    try:
        _look(database_url(settings), schema, makes_it=True)
    except (InvalidDatabaseUrl, SchemaError, Unavailable, OutcomeUnknown) as error:
        print(f"cannot migrate {settings.url_variable()}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


def _look(url: str, schema: Schema, *, makes_it: bool) -> None:
    """Look at the schema, which takes no lock, and make what is missing only if it is not there."""
    with closing(Database(url)) as database:
        try:
            require_schema(database, schema)
        except SchemaError:
            if not makes_it:
                raise
            from postroad.storage.migrate import migrate  # noqa: PLC0415 Alembic takes a third of a start

            migrate(url, schema)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


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
