"""User access tokens: what they say, which were revoked, and how their readers check them."""

from collections import OrderedDict
from dataclasses import dataclass
from time import time

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from postroad.limits import LEEWAY_S
from postroad.security.keyring import KeyRing
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


class Revocations:
    """Remembers ended sessions until the last of their access tokens expires."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, session_id: str, until: float) -> None:
        """Note that a session has ended; ``until`` is in seconds since 1970."""
        now = time()
        for expired in [known for known, end in self._until.items() if end <= now]:
            del self._until[expired]
        if until > now:
            self._until[session_id] = until

    def is_revoked(self, session_id: str) -> bool:
        """Say whether a session has ended."""
        return session_id in self._until

    def __len__(self) -> int:
        return len(self._until)


class TokenVerifier:
    """Verifies access tokens, and remembers the good ones until they expire.

    An Ed25519 verification takes about 160 us; a user sends the same token many times.
    """

    def __init__(
        self, keys: KeyRing, revocations: Revocations, *, cache_size: int = 10_000
    ) -> None:
        self._keys = keys
        self._generation = keys.generation
        self._verifiers = _verifiers(keys)
        self._revocations = revocations
        self._cache: OrderedDict[str, AccessToken] = OrderedDict()
        self._cache_size = cache_size

    def verify(self, text: str) -> AccessToken:
        """Verify a token.

        Raises:
            InvalidToken: it is not one of ours, or is one no more.
        """
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._verifiers = _verifiers(self._keys)
            self._cache.clear()
        token = self._cache.get(text)
        if token is None:
            token = self._cache[text] = self._decode(text)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        elif token.expires_at <= time():
            del self._cache[text]
            raise ExpiredToken
        if self._revocations.is_revoked(token.session_id):
            raise InvalidToken("the token was revoked: its session has ended")
        return token

    def _decode(self, text: str) -> AccessToken:
        if len(text) > TOKEN_MAX_BYTES:
            raise InvalidToken("the token is too long")
        try:
            header = jwt.get_unverified_header(text)
            key = self._verifiers.get(str(header.get("kid")))
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


def _verifiers(keys: KeyRing) -> dict[str, Ed25519PublicKey]:
    return {kid: key.verifier() for kid, key in keys.trust.token_keys().items()}
