"""What an error of a database means, by what the database itself says."""

import sqlite3

import psycopg
import pytest
from psycopg import errors

from postroad.storage.outages import outage_of


@pytest.mark.parametrize(
    "name",
    [
        "AdminShutdown",
        "CannotConnectNow",
        "ConnectionFailure",
        "CrashShutdown",
        "DeadlockDetected",
        "DiskFull",
        "IdleInTransactionSessionTimeout",
        "IoError",
        "LockNotAvailable",
        "OutOfMemory",
        "ProtocolViolation",  # by which PgBouncer says that it has no server
        "QueryCanceled",
        "ReadOnlySqlTransaction",
        "SerializationFailure",
        "TooManyConnections",
    ],
)
def test_what_postgresql_cannot_do_now_is_an_outage(name: str) -> None:
    assert outage_of(getattr(errors, name)())


@pytest.mark.parametrize(
    "name",
    [
        "DivisionByZero",
        "InFailedSqlTransaction",
        "InsufficientPrivilege",
        "InternalError_",
        "UndefinedTable",
        "UniqueViolation",
    ],
)
def test_what_postgresql_would_never_do_is_no_outage(name: str) -> None:
    assert outage_of(getattr(errors, name)()) is None


def test_a_client_that_is_not_connected_has_an_outage() -> None:
    assert outage_of(psycopg.OperationalError("the connection is lost"))
    assert outage_of(psycopg.InternalError("received 2 results from command 'COMMIT'"))
    assert outage_of(psycopg.ProgrammingError("cannot adapt")) is None


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "name",
    [
        "SQLITE_BUSY",
        "SQLITE_BUSY_SNAPSHOT",
        "SQLITE_CANTOPEN",
        "SQLITE_FULL",
        "SQLITE_IOERR_WRITE",
        "SQLITE_LOCKED",
        "SQLITE_READONLY",
        "SQLITE_READONLY_DBMOVED",
    ],
)
def test_what_sqlite_cannot_do_now_is_an_outage(name: str) -> None:
    assert outage_of(sqlite_error(getattr(sqlite3, name)))


@pytest.mark.parametrize("name", ["SQLITE_ERROR", "SQLITE_CORRUPT", "SQLITE_CONSTRAINT_UNIQUE"])
def test_what_sqlite_would_never_do_is_no_outage(name: str) -> None:
    assert outage_of(sqlite_error(getattr(sqlite3, name))) is None


def test_only_what_may_have_been_done_loses_a_commit() -> None:
    lost = [errors.AdminShutdown(), errors.StatementCompletionUnknown(), psycopg.OperationalError()]
    refused = [errors.DiskFull(), errors.SerializationFailure(), errors.ReadOnlySqlTransaction()]

    outages = [outage_of(error) for error in (*lost, *refused)]

    assert [outage and outage.loses_commits for outage in outages] == [True] * 3 + [False] * 3
