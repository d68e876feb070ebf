"""User access tokens: JWTs (RFC 9068) signed with EdDSA (RFC 8037)."""

import jwt

from auth_worker.users import User
from postroad.ids import new_id
from postroad.security.access_tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE
from postroad.security.keyring import KeyRing


class TokenIssuer:
    """Issues tokens with the auth key; ``postroad.security.access_tokens`` checks them."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def issue(self, user: User, session_id: str, *, now: int, lifetime_s: int) -> str:
        """Issue an access token, good until ``now + lifetime_s`` (seconds since 1970)."""
        key = self._keys.identity.key("tokens")
        claims = {
            "iss": ISSUER,
            "sub": user.username,
            "aud": AUDIENCE,
            "scope": " ".join(user.scopes),  # RFC 8693 section 4.2
            "iat": now,
            "exp": now + lifetime_s,
            "jti": new_id(),
            "sid": session_id,
            "user_id": user.id,
        }
        headers = {"typ": TOKEN_TYPE, "kid": key.kid}
        return jwt.encode(claims, key.signer(), algorithm=ALGORITHM, headers=headers)
