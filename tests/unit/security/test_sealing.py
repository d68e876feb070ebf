import pytest

from postroad.security.keys import Identity, TrustBundle, unpadded_b64decode, unpadded_b64encode
from postroad.security.sealing import CannotUnseal, seal, unseal

CONTEXT = "auth.sessions.create"
SECRET = "pässword"


@pytest.fixture
def sealed(trust: TrustBundle) -> str:
    return seal(SECRET, to="auth", context=CONTEXT, trust=trust)


def test_the_service_it_is_sealed_to_opens_it(sealed: str, identities: dict[str, Identity]) -> None:
    assert unseal(sealed, context=CONTEXT, identity=identities["auth"]) == SECRET


def test_another_service_cannot_open_what_is_sealed(
    sealed: str, identities: dict[str, Identity]
) -> None:
    with pytest.raises(CannotUnseal):
        unseal(sealed, context=CONTEXT, identity=identities["catalog"])


def test_it_opens_for_its_context_only(sealed: str, identities: dict[str, Identity]) -> None:
    with pytest.raises(CannotUnseal):
        unseal(sealed, context="auth.users.create", identity=identities["auth"])


def test_the_same_secret_looks_different_each_time(sealed: str, trust: TrustBundle) -> None:
    assert seal(SECRET, to="auth", context=CONTEXT, trust=trust) != sealed


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_changed_text_does_not_open(
    sealed: str, identities: dict[str, Identity], position: int
) -> None:
    changed = bytearray(unpadded_b64decode(sealed))
    changed[position] ^= 1

    with pytest.raises(CannotUnseal):
        unseal(unpadded_b64encode(bytes(changed)), context=CONTEXT, identity=identities["auth"])


@pytest.mark.parametrize("text", ["", "AAAA", "not base64url!", "ä", "A" * 4096])
def test_text_that_was_never_sealed_cannot_be_opened(
    identities: dict[str, Identity], text: str
) -> None:
    with pytest.raises(CannotUnseal):
        unseal(text, context=CONTEXT, identity=identities["auth"])


def test_an_older_key_still_opens_during_a_rotation(
    sealed: str, identities: dict[str, Identity]
) -> None:
    rotated = Identity(service="auth", keys=Identity.create("auth").keys + identities["auth"].keys)

    assert unseal(sealed, context=CONTEXT, identity=rotated) == SECRET


def test_a_retired_key_opens_nothing(sealed: str, identities: dict[str, Identity]) -> None:
    auth = identities["auth"]
    retired = [key.model_copy(update={"retires_at": 1.0}) for key in auth.keys]

    with pytest.raises(CannotUnseal):
        unseal(sealed, context=CONTEXT, identity=Identity(service="auth", keys=tuple(retired)))
