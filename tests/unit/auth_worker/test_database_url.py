"""The database's URL, whose password may be in a file of its own."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from postroad.storage.database import Database, InvalidDatabaseUrl, database_url, parse_url
from tests.support.auth import make_settings

URL = "postgresql://postroad@database/auth"


def test_without_a_password_file_the_url_is_used_as_it_is() -> None:
    settings = make_settings(database_url=SecretStr("postgresql://postroad:a@database/auth"))

    assert database_url(settings) == "postgresql://postroad:a@database/auth"


def test_the_url_of_a_managed_database_is_taken_as_it_comes() -> None:
    given = "postgres://someone:p%40ss@db.example:5432/d1?sslmode=require"
    settings = make_settings(database_url=SecretStr(given))

    engine = Database(database_url(settings)).engine

    _, options = engine.dialect.create_connect_args(engine.url)
    assert engine.url.drivername == "postgresql+psycopg"
    assert (options["host"], options["port"]) == ("db.example", 5432)
    assert (options["user"], options["password"]) == ("someone", "p@ss")
    assert (options["dbname"], options["sslmode"]) == ("d1", "require")


@pytest.mark.parametrize("password", ["simple", "p@ss:w/rd?%40"])
def test_the_password_comes_from_its_file_whatever_is_in_it(tmp_path: Path, password: str) -> None:
    path = tmp_path / "password"
    path.write_text(f"{password}\n")
    settings = make_settings(database_url=SecretStr(URL), database_password_file=path)

    url = parse_url(database_url(settings))

    assert (url.username, url.password) == ("postroad", password)
    assert (url.host, url.database) == ("database", "auth")


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    settings = make_settings(database_url=SecretStr(URL), database_password_file=path)

    with pytest.raises(InvalidDatabaseUrl, match=f"cannot read its password, {path}: No such file"):
        database_url(settings)
