"""A PostgreSQL that cannot do it now: what its callers are told, and that it passes by itself."""

import os
import signal
from contextlib import closing
from threading import Barrier
from time import monotonic, time

import pytest
from pydantic import SecretStr
from sqlalchemy import exc as sql_errors
from sqlalchemy import text

from auth_worker.settings import AuthSettings
from auth_worker.tables import SCHEMA, sessions, sign_in_failures, users
from auth_worker.wiring import build_cleaner
from postroad.contracts.errors import OutcomeUnknown, Unavailable
from postroad.storage.database import Database
from postroad.storage.opening import open_database, run_migration
from tests.integration.storage.conftest import Sql, users_locked
from tests.support.auth import (
    AuthUnderTest,
    Clock,
    at_once,
    beside,
    kinds,
    make_keys,
    make_settings,
    rows,
)
from tests.support.postgres import private_server
from tests.support.upstreams import answering

pytestmark = pytest.mark.integration

READ_ONLY = "ALTER ROLE {role} SET default_transaction_read_only = on"
WRITABLE = "ALTER ROLE {role} RESET default_transaction_read_only"
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{role}'"
)
NOW = ["08006", "25006", "40001", "40P01", "53100", "53200", "55P03", "57014", "57P03", "58030"]
DEFERRED = """
    CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN {what} RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit()
"""


def session_id(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def make_read_only(sql: Sql) -> None:
    sql(READ_ONLY)
    sql(END_SESSIONS)


def test_a_read_only_database_cannot_be_written_and_goes_on_being_read(
    auth: AuthUnderTest, sql: Sql
) -> None:
    make_read_only(sql)

    for _ in range(3):
        with pytest.raises(Unavailable, match="read-only"):
            auth.sign_in()

    assert auth.service.users.find("reader")


def test_no_session_stays_read_only_once_the_database_can_be_written(
    auth: AuthUnderTest, sql: Sql
) -> None:
    read_together = Barrier(6)

    def read(_: int) -> None:
        with auth.database.reading() as connection:
            connection.execute(users.select())
            read_together.wait(10)

    make_read_only(sql)
    at_once(6, read)
    sql(WRITABLE)

    assert kinds([auth.sign_in() for _ in range(6)]) == {"Session": 6}


def test_sessions_that_became_read_only_in_the_pool_are_replaced(
    auth: AuthUnderTest, sql: Sql
) -> None:
    read_together = Barrier(6)

    def make_session_read_only(_: int) -> None:
        with auth.database.reading() as connection:
            connection.execute(text("SET default_transaction_read_only = on"))
            connection.commit()
            read_together.wait(10)

    at_once(6, make_session_read_only)

    assert kinds([auth.sign_in() for _ in range(6)]) == {"Session": 6}


def test_a_pool_of_ended_sessions_costs_no_answer(auth: AuthUnderTest, sql: Sql) -> None:
    at_once(6, lambda _: auth.sign_in())

    sql(END_SESSIONS)

    assert kinds([auth.sign_in() for _ in range(6)]) == {"Session": 6}


def test_a_session_ended_in_mid_transaction_leaves_nothing(auth: AuthUnderTest, sql: Sql) -> None:
    def write() -> None:
        with auth.database.writing() as transaction:
            transaction.connection.execute(users.delete())
            sql(END_SESSIONS)
            transaction.connection.execute(users.delete())

    with pytest.raises(Unavailable):
        write()

    assert len(rows(auth.database, users)) == 1


@pytest.mark.parametrize("code", NOW)
def test_what_the_database_cannot_do_now_is_unavailable(auth: AuthUnderTest, code: str) -> None:
    before = session_id(auth.database)

    with pytest.raises(Unavailable), auth.database.writing() as transaction:
        transaction.connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
        )

    assert session_id(auth.database) != before
    auth.sign_in()


@pytest.mark.parametrize("code", ["22012", "23505", "42P01", "42501", "XX000"])
def test_a_mistake_of_ours_is_not_taken_for_an_outage(auth: AuthUnderTest, code: str) -> None:
    with pytest.raises(sql_errors.DBAPIError), auth.database.writing() as transaction:
        transaction.connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
        )


def test_of_two_that_wait_for_each_other_one_is_done(auth: AuthUnderTest) -> None:
    auth.add_user("writer")
    hold_one = Barrier(2)

    def lock_both(number: int) -> None:
        with auth.database.writing() as transaction:
            for step in range(2):
                name = ("reader", "writer")[(number + step) % 2]
                lock = users.select().where(users.c.username == name).with_for_update()
                transaction.connection.execute(lock)
                if not step:
                    hold_one.wait(10)

    assert kinds(at_once(2, lock_both)) == {"NoneType": 1, "Unavailable": 1}


def test_without_a_free_connection_it_is_unavailable(auth: AuthUnderTest, sql: Sql) -> None:
    auth.database.close()
    sql("ALTER ROLE {role} CONNECTION LIMIT 0")
    with pytest.raises(Unavailable):
        auth.sign_in()

    sql("ALTER ROLE {role} CONNECTION LIMIT -1")

    auth.sign_in()


def test_what_waits_for_a_lock_is_answered_before_its_deadline(
    auth: AuthUnderTest, to_answer_s: float
) -> None:
    within_s = to_answer_s + 0.5
    with users_locked(auth):
        began = monotonic()
        with answering(within_s=within_s), pytest.raises(Unavailable, match="too long"):
            auth.service.users.find("reader")
        took_s = monotonic() - began

    assert took_s < within_s


def test_a_connection_lost_during_the_commit_has_an_unknown_outcome(
    auth: AuthUnderTest, sql: Sql
) -> None:
    sql(DEFERRED.format(what="PERFORM pg_terminate_backend(pg_backend_pid());"))

    with pytest.raises(OutcomeUnknown):
        auth.sign_in()


def test_a_commit_that_is_refused_was_not_done(auth: AuthUnderTest, sql: Sql) -> None:
    sql(DEFERRED.format(what="RAISE EXCEPTION 'x' USING ERRCODE = '53100';"))

    with pytest.raises(Unavailable, match="full"):
        auth.sign_in()

    assert rows(auth.database, sessions) == []


def test_a_database_says_why_it_takes_no_change(auth: AuthUnderTest, sql: Sql) -> None:
    when_well = auth.database.problem()
    make_read_only(sql)
    while_read_only = auth.database.problem()
    sql(WRITABLE)

    assert (when_well, while_read_only) == (None, "the database is read-only")
    assert auth.database.problem() is None


def test_a_full_disk_is_told_for_a_while(role_url: str, sql: Sql) -> None:
    clock = Clock()
    sql(DEFERRED.format(what="RAISE EXCEPTION 'x' USING ERRCODE = '53100';"))
    with closing(Database(role_url, clock=clock)) as database:
        auth = AuthUnderTest(database, make_keys())
        auth.add_user()
        with pytest.raises(Unavailable):
            auth.sign_in()

        at_once = database.problem()
        clock.now += 10

        assert (at_once, database.problem()) == ("the database is full", None)


def test_what_was_unavailable_does_not_count_as_failing_to_sign_in(
    auth: AuthUnderTest, sql: Sql
) -> None:
    sql(DEFERRED.format(what="RAISE EXCEPTION 'x' USING ERRCODE = '53100';"))
    for _ in range(auth.settings.attempts_per_user + 1):
        with pytest.raises(Unavailable):
            auth.sign_in()

    sql("DROP TRIGGER at_commit ON sessions")

    assert rows(auth.database, sign_in_failures) == []
    auth.sign_in()


def test_an_attempt_that_could_not_be_taken_back_is_later(auth: AuthUnderTest, sql: Sql) -> None:
    attempts = auth.service.attempts
    attempt = attempts.begin("reader", None, deadline=time() + 10)
    make_read_only(sql)
    attempts.interrupt(attempt)
    with pytest.raises(Unavailable):
        attempts.withdraw_interrupted()
    sql(WRITABLE)
    before = rows(auth.database, sign_in_failures)

    attempts.withdraw_interrupted()

    assert before
    assert rows(auth.database, sign_in_failures) == []


def test_cleaning_is_postponed_while_nothing_can_be_written(auth: AuthUnderTest, sql: Sql) -> None:
    make_read_only(sql)

    with pytest.raises(Unavailable):
        build_cleaner(service=auth.service, settings=auth.settings).clean()


def test_a_worker_starts_on_a_database_that_is_read_only(
    auth: AuthUnderTest, sql: Sql, role_url: str
) -> None:
    make_read_only(sql)
    settings = make_settings(database_url=SecretStr(role_url))

    with closing(open_database(settings, SCHEMA, is_development=True)) as database:
        assert len(rows(database, users)) == 1


def test_where_nothing_is_to_be_migrated_it_may_be_read_only(
    auth: AuthUnderTest, sql: Sql, role_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_read_only(sql)
    monkeypatch.setenv("AUTH_DATABASE_URL", role_url)

    run_migration(AuthSettings, SCHEMA)


def test_a_session_that_stands_still_is_given_up_before_the_deadline(to_answer_s: float) -> None:
    within_s = to_answer_s + 1
    with private_server() as server, closing(Database(server.new_database())) as database:
        session = session_id(database)
        began = monotonic()

        def read_on() -> None:
            with database.reading() as connection:
                os.kill(session, signal.SIGSTOP)
                connection.execute(text("SELECT 1"))

        try:
            with answering(within_s=within_s), pytest.raises(Unavailable, match="away"):
                read_on()
        finally:
            os.kill(session, signal.SIGCONT)
        took_s = monotonic() - began

        assert session_id(database) != session

    assert took_s < within_s


def test_all_is_well_once_the_server_is_back() -> None:
    with private_server() as server:
        url = server.new_database()
        settings = make_settings(database_url=SecretStr(url))
        with closing(open_database(settings, SCHEMA, is_development=True)) as database:
            auth = AuthUnderTest(database, make_keys())
            auth.add_user()

            server.stop()
            with pytest.raises(Unavailable, match="away"):
                auth.sign_in()
            with beside(lambda: open_database(settings, SCHEMA, is_development=True).close()):
                server.start()

            auth.sign_in()
