from time import time

import pytest

from postroad.ids import new_id
from postroad.security import token_verifier as module
from postroad.security.access_tokens import InvalidToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing.keys import token_text
from tests.support.auth import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_session_that_has_ended_is_known_and_no_other(clock: Clock) -> None:
    revocations = Revocations()

    revocations.add("ended", clock.now + 900)

    assert revocations.is_revoked("ended")
    assert not revocations.is_revoked("open")


def test_what_ended_twice_is_known_once(clock: Clock) -> None:
    revocations = Revocations()

    for _ in range(2):
        revocations.add("ended", clock.now + 900)

    assert len(revocations) == 1


def test_a_session_is_forgotten_once_its_tokens_have_expired(clock: Clock) -> None:
    revocations = Revocations()
    revocations.add("first", clock.now + 900)
    revocations.add("second", clock.now + 1000)

    clock.now += 900
    revocations.add("third", clock.now + 900)

    assert len(revocations) == 2
    assert not revocations.is_revoked("first")
    assert revocations.is_revoked("second")


def test_thousands_that_end_at_once_cost_no_more_than_each_alone(clock: Clock) -> None:
    compared = 0

    class Until(float):
        def __le__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return super().__le__(other)

    revocations = Revocations()
    for number in range(1000):
        revocations.add(str(number), Until(clock.now + 900))

    assert compared < 2000


def test_what_does_not_matter_any_more_is_not_kept(clock: Clock) -> None:
    revocations = Revocations()

    revocations.add("over", clock.now)

    assert len(revocations) == 0


@pytest.fixture
def issuer(identities: dict[str, Identity]) -> Identity:
    return identities["auth"]


def test_a_remembered_token_is_refused_once_its_session_has_ended(
    keys: dict[str, KeyRing], issuer: Identity
) -> None:
    revocations, session_id = Revocations(), new_id()
    verifier = TokenVerifier(keys["bridge"], revocations)
    text, other = token_text(issuer, sid=session_id), token_text(issuer)
    assert verifier.verify(text) is verifier.verify(text)

    revocations.add(session_id, time() + 900)

    for _ in range(2):
        with pytest.raises(InvalidToken, match="its session has ended"):
            verifier.verify(text)
    assert verifier.verify(other).text == other


def test_a_token_never_seen_is_refused_if_its_session_has_ended(
    keys: dict[str, KeyRing], issuer: Identity
) -> None:
    revocations, session_id = Revocations(), new_id()
    revocations.add(session_id, time() + 900)

    with pytest.raises(InvalidToken, match="its session has ended"):
        TokenVerifier(keys["bridge"], revocations).verify(token_text(issuer, sid=session_id))
