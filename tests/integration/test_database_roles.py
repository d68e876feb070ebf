"""What `postroad provision` tells PostgreSQL, told to a real one."""

from collections.abc import Iterator

import psycopg
import pytest

from ops.state.database_roles import roles
from tests.support.postgres import Server, running_postgres

pytestmark = pytest.mark.integration

PASSWORDS = {"auth": "auth's own", "catalog": "catalog's own"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgres() as server:
        with psycopg.connect(server.database("postgres"), autocommit=True) as connection:
            for statement in roles(PASSWORDS).splitlines():
                connection.execute(statement.encode())
        yield server


def connect(server: Server, role: str, database: str) -> psycopg.Connection:
    return psycopg.connect(server.database(database), user=role, password=PASSWORDS[role])


@pytest.mark.parametrize("service", PASSWORDS)
def test_a_service_makes_tables_in_a_database_of_its_own(server: Server, service: str) -> None:
    with connect(server, service, service) as connection:
        connection.execute("CREATE TABLE things (id integer)")

        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)


@pytest.mark.parametrize(("service", "others"), [("auth", "catalog"), ("catalog", "auth")])
def test_a_service_cannot_so_much_as_connect_to_another_ones(
    server: Server, service: str, others: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(server, service, others)


def test_a_service_is_no_superuser(server: Server) -> None:
    with connect(server, "auth", "auth") as connection:
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()

    assert row == (False,)
