"""Refresh tokens: opaque, good for one use, and known to us by their hash alone.

The token that a use gives is made from the one used and the request that used it. So the same
request, delivered again because a worker died before its reply had left, gives the same token,
though it is stored nowhere:

    new token = HMAC-SHA256(server key, used token, caller and message id)

The server key is derived from the auth service's sealing key (HKDF-SHA256, RFC 5869).
"""

import hashlib
import hmac
from secrets import token_bytes
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Row

from auth_worker.tables import refresh_tokens, sessions
from postroad.context import RequestContext
from postroad.security.keyring import KeyRing
from postroad.security.keys import PrivateKey, unpadded_b64encode
from postroad.storage.database import Transaction

_INFO = b"postroad/1 refresh token rotation"


def new_token() -> str:
    """Make the first token of a session."""
    return unpadded_b64encode(token_bytes(32))


def find_token(transaction: Transaction, token: str) -> Row[Any] | None:
    """Find a token's row, with the user whose it is."""
    query = (
        refresh_tokens.select()
        .join(sessions)
        .add_columns(sessions.c.user_id)
        .where(refresh_tokens.c.token_hash == hash_token(token))
    )
    return transaction.connection.execute(query).one_or_none()


def store_token(
    transaction: Transaction, token: str, *, session_id: str, expires_at: float
) -> None:
    """Store a token that has not been used."""
    transaction.connection.execute(
        refresh_tokens.insert().values(
            token_hash=hash_token(token), session_id=session_id, expires_at=expires_at
        )
    )


def mark_used(transaction: Transaction, token: str, *, at: float, use: str) -> None:
    """Note when a token was used, and by which request."""
    transaction.connection.execute(
        refresh_tokens.update()
        .where(refresh_tokens.c.token_hash == hash_token(token))
        .values(used_at=at, used_by=use)
    )


def hash_token(token: str) -> str:
    """Give what is stored of a token; it is too random to need salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def name_use(call: RequestContext) -> str:
    """Name the request that uses a token: the same when it is delivered again, else never."""
    return hashlib.sha256(f"{call.caller}\0{call.message_id}".encode()).hexdigest()


class Rotation:
    """Makes each token from the one before."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def next(self, token: str, use: str) -> str:
        """Make the token that a use gives."""
        return _derive(self._keys.identity.key("sealing"), token, use)

    def possible(self, token: str, use: str) -> list[str]:
        """Make the tokens that a use may have given, one for each key that may have been in use."""
        keys = self._keys.identity.keys
        return [_derive(key, token, use) for key in keys if key.purpose == "sealing"]


def _derive(key: PrivateKey, token: str, use: str) -> str:
    raw = key.agreement_private().private_bytes_raw()
    server_key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(raw)
    digest = hmac.digest(server_key, f"{use}\0{token}".encode(), "sha256")
    return unpadded_b64encode(digest)
