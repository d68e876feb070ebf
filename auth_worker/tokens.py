"""User access tokens: JWTs (RFC 9068) signed with EdDSA (RFC 8037)."""

from time import time

import jwt

from auth_worker.users import User
from shared.messaging.ids import new_id
from shared.messaging.keys import Identity
from shared.tokens import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE


class TokenIssuer:
    """Issues tokens with the auth service's key; everybody checks them with ``shared.tokens``."""

    def __init__(self, identity: Identity, *, lifetime_s: int) -> None:
        key = identity.key("tokens")
        self._key = key.signer()
        self._header = {"typ": TOKEN_TYPE, "kid": key.kid}
        self.lifetime_s = lifetime_s

    def issue(self, user: User) -> str:
        """Issue an access token to a user who has proved who they are."""
        now = int(time())
        claims = {
            "iss": ISSUER,
            "sub": user.username,
            "aud": AUDIENCE,
            "scope": user.scope,
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": new_id(),
            "user_id": user.id,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=self._header)
