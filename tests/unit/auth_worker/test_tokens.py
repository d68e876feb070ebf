"""Access tokens as everybody verifies them, and refresh tokens made from one another."""

from time import time

import jwt
import pytest

from auth_worker.refresh_tokens import Rotation, hash_token, name_use, new_token
from auth_worker.tokens import TokenIssuer
from auth_worker.users import User
from postroad.context import RequestContext
from postroad.security.access_tokens import CLAIMS, InvalidToken
from postroad.security.token_verifier import Revocations, TokenVerifier
from tests.support.auth import make_keys
from tests.vectors.make import read

KEYS = make_keys()
ALICE = User(7, "reader", "hash", 1, ("user", "operator"), False, False)


def call(caller: str = "bridge", message_id: str = "m") -> RequestContext:
    return RequestContext(caller, message_id, "c", 0.0)


def test_an_access_token_says_who_may_do_what_and_for_how_long() -> None:
    now = int(time())

    text = TokenIssuer(KEYS["auth"]).issue(ALICE, "session-1", now=now, lifetime_s=900)

    token = TokenVerifier(KEYS["catalog"], Revocations()).verify(text)
    assert (token.username, token.user_id, token.session_id) == ("reader", 7, "session-1")
    assert token.scopes == {"catalog:read", "catalog:sync", "operations:read"}
    assert token.expires_at == now + 900


def test_an_access_token_has_every_claim_and_its_type() -> None:
    text = TokenIssuer(KEYS["auth"]).issue(ALICE, "s", now=int(time()), lifetime_s=900)

    claims = jwt.decode(text, options={"verify_signature": False})
    header = jwt.get_unverified_header(text)

    assert set(claims) == set(CLAIMS) == set(read("token")["claims"])
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert header["kid"] == KEYS["auth"].identity.key("tokens").kid


def test_a_token_of_a_service_that_issues_none_is_refused() -> None:
    text = TokenIssuer(KEYS["catalog"]).issue(ALICE, "s", now=int(time()), lifetime_s=900)

    with pytest.raises(InvalidToken):
        TokenVerifier(KEYS["bridge"], Revocations()).verify(text)


def test_refresh_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}  # 32 bytes in base64url


def test_the_next_token_depends_on_the_token_the_request_and_the_key() -> None:
    use = name_use(call())
    rotation = Rotation(KEYS["auth"])

    tokens = {
        rotation.next("token", use),
        rotation.next("other token", use),
        rotation.next("token", name_use(call(message_id="other"))),
        rotation.next("token", name_use(call(caller="catalog"))),
        Rotation(KEYS["catalog"]).next("token", use),
        hash_token("token"),
    }

    assert len(tokens) == 6
    assert rotation.next("token", use) in tokens


def test_a_caller_and_a_message_id_cannot_be_shifted_into_one_another() -> None:
    assert name_use(call("ab", "c")) != name_use(call("a", "bc"))
