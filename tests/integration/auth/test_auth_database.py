"""The schema and its migrations, on both kinds of database."""

import fcntl
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import inspect, text

from auth_worker.tables import SCHEMA, metadata, outbox, users
from postroad.contracts.errors import Unavailable
from postroad.storage.database import Database, InvalidDatabaseUrl
from postroad.storage.migrate import _config, migrate
from postroad.storage.opening import open_database, require_schema
from postroad.storage.outbox import OutboxReader
from postroad.storage.tables import SchemaError
from tests.support.auth import AuthUnderTest, at_once, beside, make_settings, rows

OLD_EVENT = (
    "INSERT INTO outbox (event_id, name, body, correlation_id, created_at)"
    " VALUES (:id, 'auth.login.failed', '{}', 'request-1', 1.5)"
)


def test_migrating_an_empty_database_makes_what_the_code_expects(database_url: str) -> None:
    migrate(database_url, SCHEMA)

    with closing(Database(database_url)) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())


def test_migrating_again_keeps_what_is_there(auth: AuthUnderTest, database_url: str) -> None:
    auth.add_user("reader")

    migrate(database_url, SCHEMA)

    assert [row.username for row in rows(auth.database, users)] == ["reader"]


def test_events_written_by_the_version_before_are_kept_and_still_taken(database_url: str) -> None:
    migrate(database_url, SCHEMA)
    with closing(Database(database_url)) as database:
        with database.writing() as transaction:
            command.downgrade(_config(SCHEMA, transaction.connection), "0001")
            transaction.connection.execute(text(OLD_EVENT), {"id": "before"})

        migrate(database_url, SCHEMA)
        with database.writing() as transaction:
            transaction.connection.execute(text(OLD_EVENT), {"id": "after"})
        claimed = OutboxReader(database, outbox, lease_s=30).claim(10)

    assert [(each.kind, each.message_id) for each in claimed] == [
        ("event", "before"),
        ("event", "after"),
    ]


def test_two_migrations_at_once_both_succeed(database_url: str) -> None:
    outcomes = at_once(4, lambda _: migrate(database_url, SCHEMA))

    assert outcomes == [None] * 4
    with closing(Database(database_url)) as database:
        require_schema(database, SCHEMA)


def test_a_migration_of_a_file_waits_for_one_under_way(tmp_path: Path) -> None:
    file = tmp_path / "auth.db"
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with beside(lambda: migrate(f"sqlite:///{file}", SCHEMA)) as is_done:
            assert not is_done()
            fcntl.flock(lock, fcntl.LOCK_UN)

    with closing(Database(f"sqlite:///{file}")) as database:
        require_schema(database, SCHEMA)


def test_two_processes_that_migrate_at_once_both_succeed(database_url: str) -> None:
    environment = os.environ | {"AUTH_DATABASE_URL": database_url}
    arguments = [sys.executable, "-m", "auth_worker.migrate"]

    processes = [subprocess.Popen(arguments, env=environment) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
    with closing(Database(database_url)) as database:
        require_schema(database, SCHEMA)


def test_a_worker_does_not_start_on_a_missing_schema_and_says_what_to_run(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(database_url=SecretStr(database_url))

    with pytest.raises(SystemExit) as ended:
        open_database(settings, SCHEMA, is_development=False)

    assert ended.value.code == 2
    assert "python -m auth_worker.migrate" in capsys.readouterr().err


def test_looking_for_a_database_file_does_not_make_one(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'auth.db'}")) as database:
        with pytest.raises(SchemaError, match="missing"):
            require_schema(database, SCHEMA)
        with pytest.raises(Unavailable):
            rows(database, users)

    assert list(tmp_path.iterdir()) == []


def test_a_worker_does_not_start_on_another_schema(database: Database) -> None:
    with database.writing() as transaction:
        transaction.connection.execute(text("UPDATE alembic_version SET version_num = 'future'"))

    with pytest.raises(SchemaError, match="future"):
        require_schema(database, SCHEMA)


@pytest.mark.parametrize("revision", ["catalog_9999", "9999x", "0001"])
def test_a_schema_of_another_service_or_older_will_not_do(
    database: Database, revision: str
) -> None:
    with database.writing() as transaction:
        transaction.connection.execute(
            text(f"UPDATE alembic_version SET version_num = '{revision}'")
        )

    with pytest.raises(SchemaError, match=revision):
        require_schema(database, SCHEMA)


def test_a_worker_starts_on_the_schema_of_a_newer_version(
    database: Database, database_url: str
) -> None:
    with database.writing() as transaction:
        transaction.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    settings = make_settings(database_url=SecretStr(database_url))

    for is_development in (False, True):
        open_database(settings, SCHEMA, is_development=is_development).close()

    with database.reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_in_development_a_worker_makes_its_schema(database_url: str) -> None:
    settings = make_settings(database_url=SecretStr(database_url))

    with closing(open_database(settings, SCHEMA, is_development=True)) as database:
        require_schema(database, SCHEMA)


def test_a_database_of_a_newer_version_is_not_migrated(
    database: Database, database_url: str
) -> None:
    with database.writing() as transaction:
        transaction.connection.execute(text("UPDATE alembic_version SET version_num = 'future'"))

    with pytest.raises(SchemaError, match="newer version"):
        migrate(database_url, SCHEMA)


def test_somebody_elses_database_is_not_migrated(database_url: str) -> None:
    if database_url.startswith("sqlite:///"):
        Path(database_url.removeprefix("sqlite:///")).touch()
    with closing(Database(database_url)) as database, database.writing() as transaction:
        transaction.connection.execute(text("CREATE TABLE users (name VARCHAR(10))"))

    with pytest.raises(SchemaError, match="something else"):
        migrate(database_url, SCHEMA)


def test_nothing_of_a_transaction_that_fails_is_kept(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    told: list[str] = []

    def fail() -> None:
        with auth.database.writing() as transaction:
            transaction.after_commit(lambda: told.append("committed"))
            transaction.connection.execute(users.delete())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert len(rows(auth.database, users)) == 1
    assert told == []


def test_writers_at_once_wait_for_one_another(auth: AuthUnderTest) -> None:
    auth.add_user("reader")

    def count_up(_number: int) -> None:
        with auth.database.writing() as transaction:
            read = users.select().with_for_update()
            seen = transaction.connection.execute(read).one().password_version
            transaction.connection.execute(users.update().values(password_version=seen + 1))

    outcomes = at_once(8, count_up)

    assert outcomes == [None] * 8
    assert rows(auth.database, users)[0].password_version == 9


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql://u:secret@127.0.0.1:1/none"]
)
def test_a_database_that_is_away_is_reported_as_such(url: str) -> None:
    with closing(Database(url)) as database, pytest.raises(Unavailable) as away:
        rows(database, users)

    assert "secret" not in str(away.value)


@pytest.mark.parametrize("url", ["", "sqlite://", "mysql://u:secret@h/d", "a:secret@b", "://"])
def test_a_url_of_no_database_of_ours_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as refusal:
        Database(url)

    assert "secret" not in str(refusal.value)
