"""What has come of the work: read from the databases of the services, past the services."""

from collections import Counter

from sqlalchemy import func, select

from auth_worker.tables import audit
from catalog_worker.tables import syncs
from postroad.storage.database import Database
from tests.faults.records import Sync


class Effects:
    """The audit of sign-ins and the syncs of the catalogue."""

    def __init__(self, auth_url: str, catalog_url: str) -> None:
        self._auth = Database(auth_url)
        self._catalog = Database(catalog_url)

    def close(self) -> None:
        self._auth.close()
        self._catalog.close()

    def noted(self) -> Counter[tuple[str, str]]:
        """Count the entries of each event about a session, by its name and the session."""
        columns = audit.c.what, audit.c.session_id
        query = select(*columns, func.count()).group_by(*columns)
        with self._auth.reading() as connection:
            return Counter({(row[0], row[1]): row[2] for row in connection.execute(query)})

    def is_noted(self, session: str) -> bool:
        """Tell whether anything is noted of a session."""
        query = select(audit.c.event_id).where(audit.c.session_id == session).limit(1)
        with self._auth.reading() as connection:
            return connection.execute(query).first() is not None

    def syncs(self) -> list[Sync]:
        """Give all syncs."""
        columns = syncs.c
        query = select(  # by name: the database may be that of an older version
            *(columns.id, columns.status, columns.pages, columns.pages_done, columns.products),
            *(columns.added, columns.removed),
        )
        with self._catalog.reading() as connection:
            rows = connection.execute(query).all()
        return [
            Sync(
                row.id,
                row.status,
                pages=row.pages,
                pages_done=row.pages_done,
                products=row.products,
                added=row.added,
                removed=row.removed,
            )
            for row in rows
        ]

    def syncs_done(self) -> set[str]:
        """Name the syncs that are done."""
        query = select(syncs.c.id).where(syncs.c.status == "done")
        with self._catalog.reading() as connection:
            return set(connection.execute(query).scalars())
