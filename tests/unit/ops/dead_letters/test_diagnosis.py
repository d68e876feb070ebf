"""What would become of a request, and why: the worker's own checks, run without one."""

from collections.abc import Callable
from time import time

import pytest

from ops.dead_letters.diagnosis import CheckOutcome, Reader
from ops.dead_letters.report import ADVICE
from postroad.contracts.catalog import GetProduct
from postroad.contracts.registry import CONTRACTS
from postroad.security.access_tokens import AccessToken
from postroad.security.claims import Reason
from postroad.security.keys import Identity
from postroad.security.signatures import token_hash
from postroad.testing import access_token
from postroad.testing.keys import token_text
from tests.integration.test_security import ATTACKS, REQUEST, Scene
from tests.support.explaining import ASKED, Keys, as_read, diagnosed, failures
from tests.support.letters import Letter, claims_of, forge, write

# why a request is refused


@pytest.mark.parametrize(
    ("attack", "reason"), [pytest.param(*case, id=case[0].__name__) for case in ATTACKS]
)
def test_it_gives_the_workers_own_reason_for_one_who_would(
    scene: Scene, attack: Callable[[Scene, Letter], None], reason: Reason
) -> None:
    letter = scene.letter()
    attack(scene, letter)

    failure = diagnosed(scene.keys["catalog"], letter).failure

    assert failure is not None
    assert (failure.outcome, failure.code) == (CheckOutcome.REFUSED, reason)


def test_a_copy_is_told_from_the_one_before_it(scene: Scene) -> None:
    reader, letter = Reader(scene.keys["catalog"]), scene.letter()

    first, second = (reader.diagnose(as_read(letter), ASKED, time()) for _ in range(2))

    assert first.failure is None
    assert failures(second) == [Reason.REPLAYED]


def test_every_reason_is_tried_here_and_has_its_advice() -> None:
    tried_here = {reason for _, reason in ATTACKS} | {Reason.REPLAYED}

    assert tried_here == set(Reason)
    assert set(Reason) <= ADVICE.keys()


def test_checks_after_the_first_that_fails_speak_too(scene: Scene) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, exp=time() - 60, op="auth.users.delete")
    letter.headers["CC"] = ["auth.x"]
    letter.headers["authorization"] = "another"

    assert failures(diagnosed(scene.keys["catalog"], letter)) == [
        Reason.CARBON_COPY,
        Reason.EXPIRED,
        Reason.CALLER_NOT_ALLOWED,
        Reason.TOKEN_MISMATCH,
        "invalid_request",
    ]


def test_an_unknown_sender_may_send_nothing(scene: Scene) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, iss="stranger")

    diagnosis = diagnosed(scene.keys["catalog"], letter)

    assert failures(diagnosis)[0] == Reason.UNKNOWN_KEY
    assert Reason.CALLER_NOT_ALLOWED in failures(diagnosis)


def test_a_forged_claim_does_not_stop_the_rest(scene: Scene) -> None:
    letter = scene.letter()
    claims = claims_of(letter.headers["signature"]) | {"typ": "job", "alg": "EdDSA"}
    letter.headers["signature"] = forge(scene.keys["bridge"], "catalog", letter.body, claims)

    found = failures(diagnosed(scene.keys["catalog"], letter))

    assert found[0] == Reason.UNKNOWN_KEY
    assert Reason.WRONG_TYPE in found


# what ends in an error


def test_a_user_without_the_scope_gets_an_error(
    keys: Keys, identities: dict[str, Identity]
) -> None:
    other = access_token(keys["bridge"], identities["auth"], scope="else:where")
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=other)

    assert failures(diagnosed(keys["catalog"], letter)) == ["not_authorised"]


def test_a_missing_token_gets_an_error(keys: Keys) -> None:
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x")

    assert failures(diagnosed(keys["catalog"], letter)) == ["not_authenticated"]


def test_a_token_that_has_expired_by_now_may_have_been_good_then(
    keys: Keys, identities: dict[str, Identity], user: AccessToken
) -> None:
    text = token_text(identities["auth"], exp=int(time()) - 60)
    old = AccessToken(text, token_hash(text), "reader", 1, "s", frozenset(), 0)
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=old)

    diagnosis = diagnosed(keys["catalog"], letter)

    assert failures(diagnosis) == []
    assert any("expired" in each.detail for each in diagnosis.findings)


def test_the_error_of_an_invalid_body_does_not_quote_the_body(
    scene: Scene,
) -> None:
    letter = scene.letter()
    letter.body = b'{"product_id": "secret"}'
    letter.headers["signature"] = scene.forged(letter)

    failure = diagnosed(scene.keys["catalog"], letter).failure

    assert failure is not None
    assert (failure.outcome, failure.code) == (CheckOutcome.ERROR, "invalid_request")
    assert "product_id" in failure.detail
    assert "secret" not in failure.detail


def test_a_request_for_a_method_that_is_not_there_is_an_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = scene.letter()
    monkeypatch.delitem(CONTRACTS, GetProduct.method)

    assert failures(diagnosed(scene.keys["catalog"], letter)) == ["invalid_request"]
