"""Keys of services, and tokens of their users."""

from collections.abc import Mapping
from time import time

import jwt

from postroad.ids import new_id
from postroad.security.access_tokens import AUDIENCE, ISSUER, TOKEN_TYPE, AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.topology.services import Services, trust_bundle


def make_keys(services: Services) -> dict[str, KeyRing]:
    """Return new keys of each service, by its name; each trusts the others."""
    identities = {name: Identity.create(name) for name in services.names}
    trust = TrustBundle.model_validate(trust_bundle(services, identities.values()))
    return {name: KeyRing(identity, trust) for name, identity in identities.items()}


def access_token(keys: KeyRing, issuer: Identity, **claims: object) -> AccessToken:
    """Return a user's token, for ``client.call(…, user=…)``.

    ``keys`` are the caller's, ``issuer`` the service that issues tokens; ``claims`` replace the
    usual ones, as in ``scope="orders:write"``.
    """
    return TokenVerifier(keys, Revocations()).verify(token_text(issuer, headers=None, **claims))


def token_text(
    issuer: Identity, *, headers: Mapping[str, object] | None = None, **claims: object
) -> str:
    """Return a token's text; a claim or header of ``None`` is left out."""
    key, now = issuer.key("tokens"), int(time())
    usual = {
        "iss": ISSUER,
        "sub": "reader",
        "aud": AUDIENCE,
        "exp": now + 900,
        "iat": now,
        "jti": new_id(),
        "sid": new_id(),
        "scope": "catalog:read",
        "user_id": 1,
    }
    given = {name: value for name, value in (usual | claims).items() if value is not None}
    usual_headers = {"kid": key.kid, "typ": TOKEN_TYPE}
    return jwt.encode(given, key.signer(), "EdDSA", headers=usual_headers | dict(headers or {}))
