"""An SQLite file that cannot be written now: locked, read-only, or on a disk that is full."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import event

from auth_worker.tables import SCHEMA, sign_in_failures, users
from catalog_worker.handlers import probe_syncs
from postroad.contracts.errors import Unavailable
from postroad.contracts.probes import ProbeSessions, ProbeSyncs, Readiness
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.opening import require_schema
from postroad.storage.tables import SchemaError
from tests.support.auth import AuthUnderTest, at_once, make_keys, rows
from tests.support.catalog import CatalogUnderTest
from tests.support.upstreams import answering

NOBODY = 65_534


@pytest.fixture
def file() -> Iterator[Path]:
    """A file in a folder that everybody may enter, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="postroad-") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "auth.db"
        migrate(f"sqlite:///{file}", SCHEMA)
        yield file


@pytest.fixture
def auth(file: Path) -> Iterator[AuthUnderTest]:
    with closing(Database(f"sqlite:///{file}")) as database:
        auth = AuthUnderTest(database, make_keys())
        auth.add_user()
        yield auth


@contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while: nothing is read-only for root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was == 0:
            os.seteuid(was)


def write_in(database: Database, within_s: float) -> None:
    with answering(within_s=within_s), database.writing() as transaction:
        transaction.connection.execute(users.update().values(roles="operator"))


def test_a_file_that_another_process_has_locked_is_unavailable(
    auth: AuthUnderTest, file: Path, to_answer_s: float
) -> None:
    within_s = to_answer_s + 0.5
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = monotonic()
        with pytest.raises(Unavailable, match="busy"):
            write_in(auth.database, within_s=within_s)
        took_s = monotonic() - began
        assert auth.service.users.find("reader")
        other.execute("ROLLBACK")

    write_in(auth.database, within_s=10)

    assert took_s < within_s


def test_a_session_in_use_while_the_pool_is_replaced_is_closed_after_it(
    auth: AuthUnderTest,
) -> None:
    with auth.database.reading() as connection:
        session = connection.connection.driver_connection
        auth.database.engine.dispose()  # as who finds a session of no use does

    assert isinstance(session, sqlite3.Connection)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        session.execute("SELECT 1")


def test_a_read_only_file_is_unavailable_until_it_is_writable(file: Path) -> None:
    for path in file.parent.iterdir():
        path.chmod(0o644)
    with closing(sqlite3.connect(file)) as other, closing(Database(f"sqlite:///{file}")) as found:
        other.execute("SELECT count(*) FROM users").fetchall()  # the index of its log is there
        for path in file.parent.iterdir():
            path.chmod(0o644)
        with without_rights():
            assert rows(found, users) == []
            with pytest.raises(Unavailable, match="read-only"):
                write_in(found, within_s=10)
            assert rows(found, users) == []

        write_in(found, within_s=10)


def test_a_full_disk_is_unavailable(auth: AuthUnderTest) -> None:
    auth.database.close()

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=1")

    event.listen(auth.database.engine, "connect", limit)

    many = [
        {"attempt_id": str(each), "key": "k" * 500, "at": 1.0, "is_settled": True}
        for each in range(100)
    ]

    with pytest.raises(Unavailable, match="full"), auth.database.writing() as transaction:
        transaction.connection.execute(sign_in_failures.insert(), many)

    event.remove(auth.database.engine, "connect", limit)
    auth.sign_in()


def test_a_file_that_was_deleted_is_away_and_its_successor_is_used(
    auth: AuthUnderTest, file: Path
) -> None:
    at_once(3, lambda _: auth.service.users.find("reader"))
    for path in file.parent.iterdir():
        path.unlink()
    with pytest.raises(Unavailable, match="away"):
        auth.sign_in()
    while_away = auth.database.problem()

    migrate(f"sqlite:///{file}", SCHEMA)
    auth.add_user("successor")

    assert while_away == "the database is away"
    with closing(Database(f"sqlite:///{file}")) as other:
        assert [row.username for row in rows(other, users)] == ["successor"]


def test_services_say_why_their_database_cannot_be_changed(auth: AuthUnderTest, file: Path) -> None:
    catalog = CatalogUnderTest(auth.database)
    when_well = [auth.ask(ProbeSessions()), probe_syncs(ProbeSyncs(), syncs=catalog.syncs)]
    for path in file.parent.iterdir():
        path.unlink()

    while_away = [auth.ask(ProbeSessions()), probe_syncs(ProbeSyncs(), syncs=catalog.syncs)]

    assert when_well == [Readiness()] * 2
    assert while_away == [Readiness(problem="the database is away")] * 2


def test_a_file_that_was_replaced_by_a_copy_is_left(auth: AuthUnderTest, file: Path) -> None:
    copy = file.with_name("copy.db")
    with closing(sqlite3.connect(file)) as other:
        other.execute("VACUUM INTO ?", (str(copy),))
    auth.add_user("too late")

    copy.replace(file)
    for log in ("-wal", "-shm"):
        file.with_name(f"{file.name}{log}").unlink()

    assert [row.username for row in rows(auth.database, users)] == ["reader"]


def test_a_locked_file_is_not_taken_for_no_database(tmp_path: Path) -> None:
    file = tmp_path / "auth.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(Unavailable):
            migrate(f"sqlite:///{file}", SCHEMA)


@pytest.mark.parametrize("kept_bytes", [0, 1000], ids=["overwritten", "cut"])
def test_a_damaged_file_is_said_to_be_of_no_use(
    auth: AuthUnderTest, file: Path, kept_bytes: int
) -> None:
    auth.database.close()
    whole = file.read_bytes()
    file.write_bytes((whole[:kept_bytes] + b"x" * 5000)[:5000])

    assert auth.database.problem() == "the database cannot be used"

    file.write_bytes(whole)
    auth.sign_in()


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "auth.db"
    file.write_text("a shopping list, which is no database at all\n" * 100)

    database = Database(f"sqlite:///{file}")

    with closing(database), pytest.raises(SchemaError, match="file is not a database"):
        require_schema(database, SCHEMA)
