"""An auth service on a PostgreSQL that can be told to refuse it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event

import psycopg
import pytest
from psycopg.sql import SQL
from sqlalchemy import make_url, text

from auth_worker.tables import SCHEMA
from postroad.storage import engine
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from tests.support.auth import AuthUnderTest, beside, make_keys
from tests.support.postgres import Server

Sql = Callable[[str], None]


@pytest.fixture
def to_answer_s(monkeypatch: pytest.MonkeyPatch) -> float:
    """How much of a deadline is kept for the answer: more than usual, on a busy machine."""
    monkeypatch.setattr(engine, "_TO_ANSWER_S", 2.0)
    return 2.0


@pytest.fixture
def role_url(postgres: Server) -> Iterator[str]:
    """A migrated database, and a role for this test alone, which may change nothing but it."""
    url = postgres.new_database()
    name = f"role_{make_url(url).database}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {name}")
    own_url = make_url(url).set(username=name, password=name)
    own = own_url.render_as_string(hide_password=False)
    migrate(own, SCHEMA)
    yield own
    postgres.drop_database(url)
    with psycopg.connect(postgres.database("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP ROLE {name}")


@pytest.fixture
def sql(postgres: Server, role_url: str) -> Iterator[Sql]:
    """What the superuser says in that database; ``{role}`` is the role's name."""
    url = make_url(role_url)
    server = postgres.database(url.database or "")
    with psycopg.connect(server, autocommit=True) as connection:

        def say(said: str) -> None:
            connection.execute(SQL(said.replace("{role}", url.username or "")))

        yield say


@pytest.fixture
def auth(role_url: str) -> Iterator[AuthUnderTest]:
    with closing(Database(role_url)) as database:
        auth = AuthUnderTest(database, make_keys())
        auth.add_user()
        yield auth


@contextmanager
def users_locked(auth: AuthUnderTest) -> Iterator[None]:
    """Hold an exclusive lock on the users for as long as the context lasts, ten seconds at most."""
    is_locked, may_end = Event(), Event()

    def hold() -> None:
        with auth.database.writing() as transaction:
            transaction.connection.execute(text("LOCK TABLE users"))
            is_locked.set()
            may_end.wait(10)

    with beside(hold):
        assert is_locked.wait(10)
        try:
            yield
        finally:
            may_end.set()
