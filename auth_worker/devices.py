"""Device tokens: a client that a user has signed in from is known again when they sign in.

Others who fail in the user's name do not keep such a client out, and it is no way around the
password (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). Nothing is stored:

    token = expiry, id, HMAC-SHA256(server key, user, password version, expiry, id)

A new password makes it void. The server key is derived from the auth service's sealing key
(HKDF-SHA256, RFC 5869); a token is renewed with the session, as that key is replaced at times.
"""

import hmac
from collections.abc import Callable
from time import time

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth_worker.users import User
from postroad.ids import new_id
from postroad.security.keyring import KeyRing
from postroad.security.keys import PrivateKey, unpadded_b64encode

LIFETIME_S = 90 * 86_400

_INFO = b"postroad/1 device token"
_NOBODY = (0, 0)


class Devices:
    """Makes device tokens, and tells whose they are."""

    def __init__(self, keys: KeyRing, *, clock: Callable[[], float] = time) -> None:
        self._keys = keys
        self._clock = clock

    def issue(self, user: User) -> str:
        """Make a token for a client from which a user has signed in."""
        key = self._keys.identity.key("sealing")
        said = f"{int(self._clock()) + LIFETIME_S}.{new_id()}"
        return f"{said}.{_code(key, user, said).decode()}"

    def read(self, token: str, user: User | None) -> str | None:
        """Return a token's id; none if it is not the user's, of another password, or expired.

        It takes the same time for a user there is not.
        """
        said, _, code = token.rpartition(".")
        expires, _, device_id = said.partition(".")
        keys = [key for key in self._keys.identity.keys if key.purpose == "sealing"]
        is_ours = [hmac.compare_digest(_code(key, user, said), code.encode()) for key in keys]
        if user is None or not any(is_ours) or int(expires) <= self._clock():
            return None
        return device_id


def _code(key: PrivateKey, user: User | None, said: str) -> bytes:
    raw = key.agreement_private().private_bytes_raw()
    server_key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(raw)
    user_id, version = (user.id, user.password_version) if user else _NOBODY
    digest = hmac.digest(server_key, f"{user_id}.{version}.{said}".encode(), "sha256")
    return unpadded_b64encode(digest).encode()
