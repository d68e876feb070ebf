"""Who may use which database of a PostgreSQL that several services share."""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Mapping
from hashlib import pbkdf2_hmac, sha256

_ITERATIONS = 4096  # PostgreSQL's own; a random password of 256 bits needs no more


def roles(passwords: Mapping[str, str]) -> str:
    """Give the SQL that makes, for each service, a role and a database that is its alone."""
    return "".join(
        f"CREATE ROLE {name} LOGIN PASSWORD '{_verifier(password)}';\n"
        f"CREATE DATABASE {name} OWNER {name};\n"
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        for name, password in passwords.items()
    )


def _verifier(password: str) -> str:
    """Hash a password as PostgreSQL keeps it (SCRAM-SHA-256, RFC 5803)."""
    salt = secrets.token_bytes(16)
    salted = pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored_key = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    text = [b64encode(each).decode() for each in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
