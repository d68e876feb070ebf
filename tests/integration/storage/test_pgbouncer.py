"""A database behind Debian's PgBouncer, in either of the modes that can work."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import text

from auth_worker.tables import SCHEMA, users
from postroad.contracts.errors import Unavailable
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from tests.integration.storage.conftest import users_locked
from tests.support.auth import AuthUnderTest, at_once, kinds, make_keys
from tests.support.pgbouncer import pooled
from tests.support.postgres import Server
from tests.support.upstreams import answering

pytestmark = pytest.mark.integration

CLIENTS, EACH = 8, 20
SESSIONS = {"session": CLIENTS + 1, "transaction": 3}  # at the server


@pytest.fixture(params=["session", "transaction"])
def auth(request: pytest.FixtureRequest, postgres: Server) -> Iterator[AuthUnderTest]:
    url = postgres.new_database()
    with pooled(url, request.param, SESSIONS[request.param]) as pooled_url:
        migrate(pooled_url, SCHEMA)
        with closing(Database(pooled_url)) as database:
            auth = AuthUnderTest(database, make_keys())
            auth.add_user()
            yield auth
    postgres.drop_database(url)


def test_through_pgbouncer_transactions_at_once_all_come_about(auth: AuthUnderTest) -> None:
    def read_and_write(number: int) -> None:
        for _ in range(EACH):
            assert auth.service.users.find("reader")
        for _ in range(EACH):  # one after the other: a roll-back undoes what the driver prepares
            with auth.database.writing() as transaction:
                transaction.connection.execute(users.update().values(created_at=number))

    assert kinds(at_once(CLIENTS, read_and_write)) == {"NoneType": CLIENTS}
    auth.sign_in()


def test_through_pgbouncer_a_lock_is_not_waited_for_beyond_the_deadline(
    auth: AuthUnderTest,
) -> None:
    with (
        users_locked(auth),
        answering(within_s=1),
        pytest.raises(Unavailable, match="too long"),
    ):
        auth.service.users.find("reader")


def test_through_pgbouncer_no_transaction_has_anothers_limit(auth: AuthUnderTest) -> None:
    with answering(within_s=1):
        auth.service.users.find("reader")

    with auth.database.engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"
