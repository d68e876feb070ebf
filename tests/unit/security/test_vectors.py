"""The test vectors are what our code makes, and what it accepts and refuses."""

from typing import Any

import pytest

from postroad.security.claims import Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, unpadded_b64encode
from postroad.security.sealing import CannotUnseal, unseal
from postroad.security.signatures import Verifier, token_hash
from postroad.security.token_verifier import Revocations, TokenVerifier
from tests.vectors.make import FOLDER, build, claims_of, read

FILES = ("keys", "pair_keys", "accepted", "refused", "sealed", "token")


@pytest.fixture(scope="module")
def rings() -> dict[str, KeyRing]:
    """Everybody's keys, as the files say."""
    keys = read("keys")
    trust = TrustBundle.model_validate(keys["trust"])
    return {
        name: KeyRing(Identity.model_validate(identity), trust)
        for name, identity in keys["identities"].items()
    }


def named(name: str) -> Any:
    return [pytest.param(vector, id=vector["name"]) for vector in read(name)]


def test_the_files_are_all_there_are() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_our_code_makes_the_same_vectors_again(name: str) -> None:
    assert build()[name] == read(name), "run: python -m tests.vectors.make"


@pytest.mark.parametrize("vector", read("pair_keys"), ids=lambda vector: vector["kid"])
def test_both_sides_of_a_pair_derive_the_key(
    rings: dict[str, KeyRing], vector: dict[str, str]
) -> None:
    sent_with = rings[vector["sender"]].sending_key(vector["receiver"])
    received_with = rings[vector["receiver"]].receiving_key(vector["sender"], vector["kid"])

    assert sent_with == (vector["kid"], received_with)
    assert unpadded_b64encode(received_with) == vector["key"]


@pytest.mark.parametrize("vector", named("accepted"))
def test_a_vector_that_should_be_accepted_is_accepted(
    rings: dict[str, KeyRing], vector: dict[str, Any]
) -> None:
    verifier = Verifier(rings[vector["receiver"]])

    claims = verifier.verify(vector["signature"], vector["body"].encode(), typ=vector["typ"])

    assert claims_of(vector["signature"]) == vector["claims"]
    assert vector["claims"].items() >= claims.model_dump(exclude_unset=True).items()
    if "authorization" in vector:
        assert claims.ath == token_hash(vector["authorization"])


@pytest.mark.parametrize("vector", named("refused"))
def test_a_vector_that_should_be_refused_is_refused_for_its_reason(
    rings: dict[str, KeyRing], vector: dict[str, Any]
) -> None:
    verifier = Verifier(rings[vector["receiver"]])

    with pytest.raises(Refused) as refusal:
        verifier.verify(vector["signature"], vector["body"].encode(), typ=vector["typ"])

    assert refusal.value.reason == vector["reason"]


def test_the_sealed_secret_opens_for_its_receiver_and_context_alone(
    rings: dict[str, KeyRing],
) -> None:
    vector = read("sealed")
    owner, other = rings[vector["receiver"]].identity, rings["catalog"].identity

    assert unseal(vector["sealed"], context=vector["context"], identity=owner) == vector["secret"]
    with pytest.raises(CannotUnseal):
        unseal(vector["sealed"], context=vector["context"] + "s", identity=owner)
    with pytest.raises(CannotUnseal):
        unseal(vector["sealed"], context=vector["context"], identity=other)


def test_the_access_token_says_what_it_always_said(rings: dict[str, KeyRing]) -> None:
    vector = read("token")

    token = TokenVerifier(rings[vector["receiver"]], Revocations()).verify(vector["token"])

    claims = vector["claims"]
    assert (token.username, token.user_id) == (claims["sub"], claims["user_id"])
    assert (token.session_id, token.expires_at) == (claims["sid"], claims["exp"])
    assert token.scopes == {"catalog:read", "auth:admin"}
