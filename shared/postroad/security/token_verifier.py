"""Verifying users' access tokens, each once, and which of them were revoked."""

from collections import OrderedDict
from time import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from postroad.security.access_tokens import AccessToken, ExpiredToken, InvalidToken, read_token
from postroad.security.keyring import KeyRing


class Revocations:
    """Remembers ended sessions until the last of their access tokens expires."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()  # about in the order of their times
        self.known_until = float("inf")  # by `monotonic`; a feed says until when, and again

    def add(self, session_id: str, until: float) -> None:
        """Note that a session has ended; ``until`` is in seconds since 1970."""
        now = time()
        while self._until and next(iter(self._until.values())) <= now:  # a user may end thousands
            self._until.popitem(last=False)
        if until > now:
            self._until[session_id] = until

    def is_revoked(self, session_id: str) -> bool:
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
            token = self._cache[text] = read_token(text, self._verifiers)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        elif token.expires_at <= time():
            del self._cache[text]
            raise ExpiredToken
        if self._revocations.is_revoked(token.session_id):
            raise InvalidToken("the token was revoked: its session has ended")
        return token


def _verifiers(keys: KeyRing) -> dict[str, Ed25519PublicKey]:
    return {kid: key.verifier() for kid, key in keys.trust.token_keys().items()}
