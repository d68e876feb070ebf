"""What an error of a database means: it cannot do this now, or we have made a mistake.

The database itself says which: PostgreSQL by its SQLSTATE (appendix A of its manual), SQLite by
its result code (sqlite.org/rescode.html). SQLAlchemy's classes of errors do not say it.
"""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """What a database cannot do now.

    ``is_of_session``: another session may be able to. ``is_of_disk``: only what is written meets
    it, so a transaction that changes nothing does not.
    """

    problem: str
    is_of_session: bool = False
    is_of_disk: bool = False
    loses_commits: bool = False  # of a COMMIT that ended so, nobody knows whether it was done


_AWAY = Outage("the database is away", is_of_session=True, loses_commits=True)
_READ_ONLY = Outage("the database is read-only", is_of_session=True)
_BUSY = Outage("the database is busy")
_SLOW = Outage("the database took too long")
_FULL = Outage("the database is full", is_of_disk=True)
_SHORT = Outage("the database is short of resources")

_BY_SQLSTATE = {  # the longest that it begins with counts
    "08": _AWAY,  # connection exception
    "25006": _READ_ONLY,  # read_only_sql_transaction
    "25P03": _AWAY,  # idle_in_transaction_session_timeout
    "25P04": _AWAY,  # transaction_timeout
    "40": Outage("the database is busy with changes that exclude this one"),  # a deadlock, too
    "40003": _AWAY,  # statement_completion_unknown
    "53": _SHORT,  # insufficient resources
    "53100": _FULL,  # disk_full
    "55P03": _BUSY,  # lock_not_available
    "57": _AWAY,  # operator intervention: shut down, or starting
    "57014": _SLOW,  # query_canceled, by statement_timeout
    "58": Outage("the database cannot use its disk", is_of_disk=True),  # system error
}
_BY_RESULT_CODE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_NOMEM: _SHORT,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _AWAY,
    sqlite3.SQLITE_IOERR: Outage(
        "the database cannot use its disk", is_of_session=True, is_of_disk=True, loses_commits=True
    ),
}


def outage_of(error: BaseException | None) -> Outage | None:
    """Return what the database cannot do now; none if the error is of another kind."""
    if isinstance(error, sqlite3.Error):
        # the low byte is the kind; an error of Python's own module has no code
        return _BY_RESULT_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    sqlstate: str | None = getattr(error, "sqlstate", "")
    if sqlstate is None:  # the client's own: not connected, or at odds with the other end
        import psycopg  # noqa: PLC0415  # memory; SQLite has no use

        is_lost = isinstance(error, psycopg.OperationalError | psycopg.InternalError)
        return _AWAY if is_lost else None
    lengths = range(len(sqlstate), 1, -1)
    found = (_BY_SQLSTATE.get(sqlstate[:length]) for length in lengths)
    return next((outage for outage in found if outage is not None), None)
