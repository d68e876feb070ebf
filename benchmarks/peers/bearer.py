"""The check of a user's token, the same in every peer and done with PyJWT.

Signature (EdDSA, the key by its id), issuer, audience, expiry and the scope ``catalog:read``. Each
request anew, as PyJWT's own documentation does it; ``PEER_REMEMBERS_TOKENS`` has a peer keep the
good ones, as our own system does.
"""

import os
from functools import lru_cache
from pathlib import Path

import jwt

KEYS = jwt.PyJWKSet.from_json(Path(os.environ["PEER_KEYS"]).read_text())
CACHE_SIZE = 10_000 if os.environ.get("PEER_REMEMBERS_TOKENS") else 0


class Unauthorised(Exception):
    """There is no token that is good for the catalogue."""


def check(authorization: str | None) -> None:
    """Check an ``Authorization`` header.

    Raises:
        Unauthorised: the token is missing or not valid.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorised
    try:
        scopes = _scopes(token)
    except (jwt.InvalidTokenError, KeyError) as error:
        raise Unauthorised from error
    if "catalog:read" not in scopes:
        raise Unauthorised


@lru_cache(maxsize=CACHE_SIZE)
def _scopes(token: str) -> list[str]:
    key = KEYS[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token, key.key, algorithms=["EdDSA"], issuer="postroad/auth", audience="postroad"
    )
    return str(claims["scope"]).split()
