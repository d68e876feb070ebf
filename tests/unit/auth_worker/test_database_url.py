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


def test_a_file_of_a_password_means_nothing_to_sqlite(tmp_path: Path) -> None:
    url = SecretStr("sqlite:////var/lib/auth.db")

    settings = make_settings(database_url=url, database_password_file=tmp_path / "password")

    assert database_url(settings) == url.get_secret_value()


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    settings = make_settings(database_url=SecretStr(URL), database_password_file=path)

    with pytest.raises(InvalidDatabaseUrl, match=f"cannot read its password, {path}: No such file"):
        database_url(settings)


def test_a_password_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xff")
    settings = make_settings(database_url=SecretStr(URL), database_password_file=path)

    with pytest.raises(InvalidDatabaseUrl, match=f"its password, {path}, is not UTF-8"):
        database_url(settings)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://u:secret@::1:5432/auth", "brackets"),
        ("postgresql://u:secret@[::1:5432/auth", "brackets"),
        ("postgresql://u:secret@db:abc/auth", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@db:99999/auth", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@db:0/auth", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@db: 5432/auth", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@db:\u0665/auth", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@[::1]5432/auth", "only : and a port after the ]"),
        ("postgresql://u:secret@[db]/auth", "an IPv6 address in the brackets"),
        ("postgresql://u:secret@127.0.0.256/auth", "not an IPv4 address"),
        ("postgresql://u:secret@one,/auth", "it has no host"),
        ("postgresql://u:secret@d b/auth", "neither a name nor an address"),
        ("postgresql://u:secret@/auth?host=db&port=x", "it must have a port from 1 to 65535"),
        ("postgresql://u:secret@db/auth\r", "a control character"),
        ("sqlite:////var/lib/auth.db ", "a space at its beginning or end"),
        ("postgresql://u:secret@/auth?host=a:5432&host=b:99999", "from 1 to 65535"),
        ("postgresql://u:secret@db/auth?sslmod=require", 'invalid connection option "sslmod"'),
        ("postgresql://u:secret@db/auth?sslmode=on", 'invalid sslmode value: "on"'),
        (
            "postgresql://u:secret@db/auth?target_session_attrs=writable",
            'invalid target_session_attrs value: "writable"',
        ),
        (
            "postgresql://u:secret@db:5432/auth?ssl_min_protocol_version=1",
            'invalid "ssl_min_protocol_version" value: "1"',
        ),
        ("postgresql://u:secret@/auth?host=db..example", "its host must be a name or an address"),
        (f"postgresql://u:secret@{'d' * 64}.example/auth", "a host that is not a name"),
        ("postgresql://u:secret@db/auth?connect_timeout=soon", "bad value for connect_timeout"),
        ("mysql://u:secret@db/auth", "it must begin with"),
        ("secret", "it is not a database URL"),
        ("sqlite://var/lib/auth.db", "sqlite:/// and a file"),
        ("sqlite:////var/lib/auth.db?mode=ro", "without a ?"),
        ("sqlite:///what?/auth.db", "without a ?"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_before_it_is(url: str, problem: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as error:
        parse_url(url)

    assert problem in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///auth?host=/var/run/postgresql",
        "postgresql://u@/auth?host=a:5432&host=b:5433&target_session_attrs=read-write",
        "postgresql://u@[::1]:5432/auth",
        "postgresql://u@d\xe4ten.example/auth?connect_timeout=5",
        "postgresql://u:p/w@one,other/auth?user=someone@db",
    ],
)
def test_whatever_the_driver_can_use_is_taken(url: str) -> None:
    assert parse_url(url).drivername == "postgresql+psycopg"
