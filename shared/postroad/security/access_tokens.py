"""User access tokens: what they say, and how one is read (RFC 9068)."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import time

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from postroad.limits import LEEWAY_S
from postroad.security.signatures import token_hash

ISSUER = "postroad/auth"
AUDIENCE = "postroad"
TOKEN_TYPE = "at+jwt"  # noqa: S105  # RFC 9068 section 2.1
ALGORITHM = "EdDSA"
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "jti", "sid", "scope", "user_id")
TOKEN_MAX_BYTES = 4096


class InvalidToken(Exception):
    """The token is malformed, expired, forged or not an access token; the message says which."""


class ExpiredToken(InvalidToken):
    """It was one of ours, until its time was over."""

    def __init__(self) -> None:
        super().__init__("the token has expired")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified token: its text, its SHA-256 (the claim ``ath``) and what it says."""

    text: str
    hash: str
    username: str
    user_id: int
    session_id: str
    scopes: frozenset[str]
    expires_at: float


def read_token(text: str, keys: Mapping[str, Ed25519PublicKey]) -> AccessToken:
    """Read a token's text, and verify it with the key that it names.

    Raises:
        InvalidToken: it is not one of ours, or is one no more.
    """
    if len(text) > TOKEN_MAX_BYTES:
        raise InvalidToken("the token is too long")
    try:
        header = jwt.get_unverified_header(text)
        key = keys.get(str(header.get("kid")))
        if key is None or header.get("typ") != TOKEN_TYPE:
            raise InvalidToken("the token is not one of ours")
        claims = jwt.decode(
            text,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            # below: a clock that is a little behind the issuer's takes no token for forged
            options={"require": list(CLAIMS), "verify_iat": False},
        )
        if float(claims["iat"]) > time() + LEEWAY_S:
            raise InvalidToken("the token is from the future")
        return AccessToken(
            text=text,
            hash=token_hash(text),
            username=str(claims["sub"]),
            user_id=int(claims["user_id"]),
            session_id=str(claims["sid"]),
            scopes=frozenset(str(claims["scope"]).split()),
            expires_at=float(claims["exp"]),
        )
    except jwt.ExpiredSignatureError as error:
        raise ExpiredToken from error
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise InvalidToken("the token is malformed or forged") from error
