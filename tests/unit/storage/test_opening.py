"""A worker that waits for its database at its start."""

from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from auth_worker.tables import SCHEMA
from postroad.contracts.errors import Unavailable
from postroad.storage import opening
from postroad.storage.database import parse_url
from tests.support.auth import make_settings


def test_a_password_that_is_put_right_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    settings = make_settings(
        database_url=SecretStr("postgresql://postroad@database/auth"), database_password_file=file
    )

    tried: list[object] = []

    def look(url: str, *_: object, **__: object) -> None:
        tried.append(parse_url(url).password)
        assert len(tried) <= 2
        if tried[-1] != "right":
            raise Unavailable("the database is away")

    monkeypatch.setattr(opening, "_look", look)
    monkeypatch.setattr(opening, "sleep", lambda _: file.write_text("right"))

    with closing(opening.open_database(settings, SCHEMA, is_development=False)) as database:
        assert database.url.password == "right"
    assert tried == ["wrong", "right"]
