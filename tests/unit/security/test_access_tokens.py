from time import time
from typing import Any

import jwt
import pytest

from postroad.limits import LEEWAY_S
from postroad.security import token_verifier
from postroad.security.access_tokens import CLAIMS, TOKEN_MAX_BYTES, InvalidToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, unpadded_b64decode
from postroad.security.signatures import token_hash
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing.keys import token_text


@pytest.fixture
def issuer(identities: dict[str, Identity]) -> Identity:
    return identities["auth"]


@pytest.fixture
def verifier(keys: dict[str, KeyRing]) -> TokenVerifier:
    return TokenVerifier(keys["bridge"], Revocations())


def test_a_good_token_says_who_may_do_what(verifier: TokenVerifier, issuer: Identity) -> None:
    text = token_text(issuer, sub="reader", user_id=7, scope="catalog:read auth:admin")

    token = verifier.verify(text)

    assert (token.username, token.user_id) == ("reader", 7)
    assert token.scopes == {"catalog:read", "auth:admin"}
    assert (token.text, token.hash) == (text, token_hash(text))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "somebody"},
        {"aud": "somewhere"},
        {"user_id": "seven"},
        {"exp": "tomorrow"},
        *({claim: None} for claim in CLAIMS),  # left out
    ],
)
def test_a_token_with_wrong_claims_is_refused(
    verifier: TokenVerifier, issuer: Identity, claims: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken, match="malformed or forged"):
        verifier.verify(token_text(issuer, **claims))


def test_an_expired_token_is_refused_by_name(verifier: TokenVerifier, issuer: Identity) -> None:
    with pytest.raises(InvalidToken, match="has expired"):
        verifier.verify(token_text(issuer, exp=int(time()) - 1))


def test_a_token_by_a_clock_that_is_a_little_ahead_is_good(
    verifier: TokenVerifier, issuer: Identity
) -> None:
    now = int(time())

    assert verifier.verify(token_text(issuer, iat=now + LEEWAY_S - 1)).username == "reader"
    with pytest.raises(InvalidToken, match="from the future"):
        verifier.verify(token_text(issuer, iat=now + LEEWAY_S + 2))


@pytest.mark.parametrize("service", ["bridge", "catalog"])
def test_a_token_by_another_service_is_refused(
    verifier: TokenVerifier, identities: dict[str, Identity], service: str
) -> None:
    with pytest.raises(InvalidToken, match="not one of ours"):
        verifier.verify(token_text(identities[service]))


def test_a_token_by_a_stranger_under_our_key_id_is_refused(
    verifier: TokenVerifier, issuer: Identity
) -> None:
    forged = token_text(Identity.create("auth"), headers={"kid": issuer.key("tokens").kid})

    with pytest.raises(InvalidToken, match="malformed or forged"):
        verifier.verify(forged)


def test_another_kind_of_token_is_refused(verifier: TokenVerifier, issuer: Identity) -> None:
    with pytest.raises(InvalidToken, match="not one of ours"):
        verifier.verify(token_text(issuer, headers={"typ": "JWT"}))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_the_algorithm_is_not_the_tokens_choice(
    verifier: TokenVerifier, issuer: Identity, algorithm: str
) -> None:
    public = issuer.key("tokens")
    claims = jwt.decode(token_text(issuer), options={"verify_signature": False})
    headers = {"kid": public.kid, "typ": "at+jwt"}
    key = unpadded_b64decode(public.x) if algorithm == "HS256" else ""

    forged = jwt.encode(claims, key, algorithm, headers=headers)

    with pytest.raises(InvalidToken, match="malformed or forged"):
        verifier.verify(forged)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "..", "ä.ö.ü", "\x00", "a" * 100])
def test_nonsense_is_refused(verifier: TokenVerifier, text: str) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(text)


def test_a_very_long_token_is_refused_unread(verifier: TokenVerifier, issuer: Identity) -> None:
    with pytest.raises(InvalidToken, match="too long"):
        verifier.verify(token_text(issuer, sub="a" * TOKEN_MAX_BYTES))


def test_a_changed_token_is_refused(verifier: TokenVerifier, issuer: Identity) -> None:
    head, _, code = token_text(issuer).split(".")
    _, other_body, _ = token_text(issuer, scope="auth:admin").split(".")

    with pytest.raises(InvalidToken, match="malformed or forged"):
        verifier.verify(f"{head}.{other_body}.{code}")


def test_a_token_is_verified_once_and_remembered(verifier: TokenVerifier, issuer: Identity) -> None:
    text = token_text(issuer)

    assert verifier.verify(text) is verifier.verify(text)


def test_a_remembered_token_still_expires(
    verifier: TokenVerifier, issuer: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token_text(issuer)
    verifier.verify(text)

    monkeypatch.setattr(token_verifier, "time", lambda: time() + 10_000)

    with pytest.raises(InvalidToken, match="has expired"):
        verifier.verify(text)


def test_no_more_tokens_are_remembered_than_allowed(
    keys: dict[str, KeyRing], issuer: Identity
) -> None:
    verifier = TokenVerifier(keys["bridge"], Revocations(), cache_size=2)

    for number in range(5):
        verifier.verify(token_text(issuer, user_id=number))

    assert len(verifier._cache) == 2
