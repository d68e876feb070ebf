"""The statements that give each service a database of its own."""

import re

from ops.state.database_roles import roles


def test_a_password_is_kept_as_postgresql_keeps_it() -> None:
    """The form, and that it says nothing of the password; a real server takes it elsewhere."""
    statements = roles({"auth": "secret"})

    assert re.search(
        r"CREATE ROLE auth LOGIN PASSWORD "
        r"'SCRAM-SHA-256\$4096:[\w+/]{22}==\$[\w+/]{43}=:[\w+/]{43}='",
        statements,
    )
    assert "secret" not in statements


def test_the_hash_is_salted() -> None:
    assert roles({"auth": "secret"}) != roles({"auth": "secret"})
