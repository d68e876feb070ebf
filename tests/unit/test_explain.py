import base64
import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops import explain
from ops.state import State
from ops.trial import Court, Outcome, Trial
from shared.contracts.catalog import FetchPage, GetProduct
from shared.contracts.events import SyncRequested
from shared.messaging.captured import CannotRead, Captured, Place, read_messages
from shared.messaging.envelope import Reason, Signer, read_signature, token_hash
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity, TrustBundle
from shared.tokens import AccessToken
from tests.captures import captured, write_state
from tests.integration.test_security import ATTACKS, REQUEST, Scene
from tests.letters import Letter, claims_of, forge, write
from tests.services import access_token, token_text

Keys = dict[str, KeyRing]
ASKED = Place("request", "catalog")


@pytest.fixture
def user(keys: Keys, identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
def scene(keys: Keys, user: AccessToken) -> Scene:
    """One who writes to a worker; there is neither a worker nor a broker."""
    inbox = SimpleNamespace(address="reply.bridge.x")
    return Scene(cast(Any, None), cast(Any, None), keys, user, cast(Any, inbox))


@pytest.fixture
def state(tmp_path: Path, identities: dict[str, Identity], trust: TrustBundle) -> State:
    return write_state(tmp_path / "state", identities, trust)


@pytest.fixture
def explained(state: State, tmp_path: Path) -> Callable[..., int]:
    """Run the command on some messages; give its exit status."""

    def run(*messages: dict[str, Any], arguments: tuple[str, ...] = ()) -> int:
        path = tmp_path / "messages.json"
        path.write_text(json.dumps(list(messages)))
        return command(str(path), "--state", str(state.folder), *arguments)

    return run


def command(*arguments: str) -> int:
    parser = ArgumentParser()
    explain.add_arguments(parser)
    return explain.run(parser.parse_args(arguments))


def as_read(letter: Letter, **changes: Any) -> Captured:
    (message,) = read_messages(json.dumps(captured(letter, **changes)))
    return message


def tried(keys: KeyRing, letter: Letter) -> Trial:
    return Court(keys).try_message(as_read(letter), ASKED, time())


def failures(trial: Trial) -> list[str]:
    return [
        each.code for each in trial.findings if each.outcome in (Outcome.REFUSED, Outcome.ERROR)
    ]


# why a request is refused


@pytest.mark.parametrize(
    ("attack", "reason"), [pytest.param(*case, id=case[0].__name__) for case in ATTACKS]
)
def test_it_gives_the_workers_own_reason_for_one_who_would(
    scene: Scene, attack: Callable[[Scene, Letter], None], reason: Reason
) -> None:
    letter = scene.letter()
    attack(scene, letter)

    verdict = tried(scene.keys["catalog"], letter).verdict

    assert verdict is not None
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, reason)


def test_a_copy_is_told_from_the_one_before_it(scene: Scene) -> None:
    court, letter = Court(scene.keys["catalog"]), scene.letter()

    first, second = (court.try_message(as_read(letter), ASKED, time()) for _ in range(2))

    assert first.verdict is None
    assert failures(second) == [Reason.REPLAYED]


def test_every_reason_is_tried_here_and_has_its_advice() -> None:
    tried_here = {reason for _, reason in ATTACKS} | {Reason.REPLAYED}

    assert tried_here == set(Reason)
    assert set(Reason) <= explain.ADVICE.keys()


def test_checks_after_the_first_that_fails_speak_too(scene: Scene) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, exp=time() - 60, op="auth.users.delete")
    letter.headers["CC"] = ["auth.x"]
    letter.headers["authorization"] = "another"

    assert failures(tried(scene.keys["catalog"], letter)) == [
        Reason.CARBON_COPY,
        Reason.EXPIRED,
        Reason.CALLER_NOT_ALLOWED,
        Reason.TOKEN_MISMATCH,
        "invalid_request",
    ]


def test_a_sender_whom_nobody_knows_may_send_nothing(scene: Scene) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, iss="stranger")

    trial = tried(scene.keys["catalog"], letter)

    assert failures(trial)[0] == Reason.UNKNOWN_KEY
    assert Reason.CALLER_NOT_ALLOWED in failures(trial)


# what ends in an error


def test_a_user_without_the_scope_gets_an_error(
    keys: Keys, identities: dict[str, Identity]
) -> None:
    other = access_token(keys["bridge"], identities["auth"], scope="else:where")
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=other)

    assert failures(tried(keys["catalog"], letter)) == ["not_authorised"]


def test_a_missing_token_gets_an_error(keys: Keys) -> None:
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x")

    assert failures(tried(keys["catalog"], letter)) == ["not_authenticated"]


def test_a_token_that_has_expired_by_now_may_have_been_good_then(
    keys: Keys, identities: dict[str, Identity], user: AccessToken
) -> None:
    text = token_text(identities["auth"], exp=int(time()) - 60)
    old = AccessToken(text, token_hash(text), "reader", 1, "s", frozenset(), 0)
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=old)

    trial = tried(keys["catalog"], letter)

    assert failures(trial) == []
    assert any("expired" in each.detail for each in trial.findings)


def test_a_body_that_breaks_its_contract_gets_an_error_that_does_not_quote_it(
    scene: Scene,
) -> None:
    letter = scene.letter()
    letter.body = b'{"product_id": "secret"}'
    letter.headers["signature"] = scene.forged(letter)

    verdict = tried(scene.keys["catalog"], letter).verdict

    assert verdict is not None
    assert (verdict.outcome, verdict.code) == (Outcome.ERROR, "invalid_request")
    assert "product_id" in verdict.detail
    assert "secret" not in verdict.detail


# events and jobs


def post(
    keys: KeyRing, message: SyncRequested | FetchPage, *, user_id: str | None = None
) -> dict[str, Any]:
    """Show an event or a job as it waits in the catalogue's queue of work."""
    body = message.model_dump_json().encode()
    ids = {"name": message.name, "body": body, "message_id": "m", "correlation_id": "c"}
    signer = Signer(keys)
    is_job = isinstance(message, FetchPage)
    signature = signer.job(audience="catalog", **ids) if is_job else signer.event(**ids)  # type: ignore[arg-type]
    headers = {
        "signature": signature,
        "x-death": [{"queue": "work.catalog.sync", "reason": "rejected", "time": int(time())}],
    }
    return {
        "exchange": "dead.work",
        "routing_key": message.name,
        "properties": {
            "headers": headers,
            "type": message.name,
            "user_id": user_id or keys.service,
        },
        "payload": body.decode(),
        "payload_encoding": "string",
    }


EVENT = SyncRequested(sync_id="s")
JOB = FetchPage(sync_id="s", skip=0, limit=30)


@pytest.mark.parametrize(("message", "typ"), [(EVENT, "event"), (JOB, "job")])
def test_honest_work_passes(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    message: SyncRequested | FetchPage,
    typ: str,
) -> None:
    status = explained(post(keys["catalog"], message))

    assert status == 0
    assert f"{typ} for catalog" in capsys.readouterr().out


@pytest.mark.parametrize("message", [EVENT, JOB])
def test_work_of_one_who_may_not_send_it_is_refused(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    message: SyncRequested | FetchPage,
) -> None:
    status = explained(post(keys["auth"], message))

    assert status == 1
    assert "Refused: caller_not_allowed" in capsys.readouterr().out


def test_work_may_come_from_the_one_who_put_it_aside_and_from_no_third(
    keys: Keys, explained: Callable[..., int]
) -> None:
    assert explained(post(keys["catalog"], JOB, user_id="catalog")) == 0
    assert explained(post(keys["catalog"], JOB, user_id="bridge")) == 1


def test_work_that_failed_for_good_has_nothing_wrong(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = post(keys["catalog"], JOB)
    dead["properties"]["headers"]["attempt"] = 5

    assert explained(dead) == 0
    assert "its handler failed for good, in attempt 5" in capsys.readouterr().out


def test_work_that_breaks_its_contract_cannot_be_done(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = FetchPage.model_construct(sync_id="s", skip=-1, limit=30)

    assert explained(post(keys["catalog"], broken)) == 1
    assert "it cannot be done, and is dead-lettered: invalid_request" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "said"),
    [("delivery_limit", "it may be what kills it"), ("expired", "nobody worked on it in time")],
)
def test_work_that_the_broker_gave_up_has_nothing_wrong(
    keys: Keys,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    reason: str,
    said: str,
) -> None:
    dead = post(keys["catalog"], JOB)
    dead["properties"]["headers"]["x-death"][0]["reason"] = reason

    assert explained(dead) == 0
    assert said in capsys.readouterr().out


def test_a_redrive_is_read_as_its_reader_does(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = post(keys["catalog"], JOB)
    first = read_signature(dead["properties"]["headers"]["signature"]).claims
    dead["properties"]["headers"]["signature"] = Signer(keys["catalog"]).redrive(
        first, audience="catalog", body=dead["payload"].encode()
    )

    assert explained(dead) == 1

    shown = capsys.readouterr().out
    assert "ok       a redrive" in shown
    assert "ok       who sent it at first may send it" in shown
    assert "Refused: caller_not_allowed" in shown  # the catalogue is no operator


@pytest.mark.parametrize("exchange", ["wait", "retry"])
def test_work_that_was_put_aside_is_read_as_its_queue_would(
    keys: Keys, explained: Callable[..., int], exchange: str
) -> None:
    aside = post(keys["catalog"], EVENT) | {
        "exchange": exchange,
        "routing_key": "1.work.auth.audit",
    }
    aside["properties"]["headers"]["x-death"] = [{"queue": "wait.1", "reason": "expired"}]
    aside["properties"]["user_id"] = "auth"

    assert explained(aside) == 0


def test_an_event_can_be_read_by_all(
    keys: Keys, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    event = post(keys["catalog"], EVENT) | {"exchange": "events"}
    del event["properties"]["headers"]["x-death"]

    assert explained(event) == 0
    assert "event for all who listen" in capsys.readouterr().out


# time


def aged(scene: Scene, seconds: float) -> Letter:
    """Write an honest request that is some time old."""
    letter = scene.letter()
    then = time() - seconds
    letter.headers["signature"] = scene.forged(letter, iat=then, exp=then + 5)
    return letter


def test_a_message_is_judged_as_of_when_it_was_signed(
    scene: Scene, explained: Callable[..., int]
) -> None:
    letter = aged(scene, 3600)

    assert explained(captured(letter)) == 0
    assert explained(captured(letter), arguments=("--at", "now")) == 1


def test_or_when_it_was_refused(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = aged(scene, 3600)
    late = int(time()) - 3500
    letter.headers["x-death"] = [
        {"queue": "rpc.catalog", "reason": "rejected", "exchange": "rpc", "time": late}
    ]

    assert explained(captured(letter, exchange="dead")) == 1
    assert "Refused: expired" in capsys.readouterr().out


def test_or_at_a_time_that_is_given(scene: Scene, explained: Callable[..., int]) -> None:
    letter = aged(scene, 3600)

    assert explained(captured(letter), arguments=("--at", str(time() - 3599))) == 0
    assert explained(captured(letter), arguments=("--at", "2020-01-01T00:00:00Z")) == 1


# what it prints


def test_it_shows_the_claims_and_what_to_do(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.properties["user_id"] = "auth"

    status = explained(captured(letter))

    shown = capsys.readouterr().out
    assert status == 1
    assert "request for catalog" in shown
    assert f"iss  {explain.MEANINGS['iss']:42}bridge" in shown
    assert "s ago)" in shown
    assert "sender_mismatch: auth sent as bridge" in shown
    assert explain.ADVICE[Reason.SENDER_MISMATCH] in shown
    assert "Refused: sender_mismatch." in shown


def test_no_secret_is_printed(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.body = b'{"product_id": "the secret"}'

    explained(captured(letter))

    shown = capsys.readouterr().out
    assert scene.user.text not in shown
    assert f"present, SHA-256 {scene.user.hash}" in shown
    assert letter.headers["signature"].partition("..")[2] not in shown
    assert "the secret" not in shown


def test_what_a_stranger_wrote_is_harmless_to_a_terminal(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, iss="\x1b[2Jbridge", exp=9e9)
    letter.properties["message_id"] = "\x1b]0;x\x07"

    explained(captured(letter))

    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[2Jbridge" in shown


def test_a_rejected_message_with_nothing_wrong_is_said_to_be_so(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.headers["x-death"] = [
        {"queue": "rpc.catalog", "reason": "rejected", "time": int(time())}
    ]

    assert explained(captured(letter, exchange="dead")) == 0
    assert "Nothing is wrong with it, yet it was rejected" in capsys.readouterr().out


def test_each_of_several_messages_is_explained(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()

    assert explained(captured(scene.letter()), captured(letter), captured(letter)) == 1
    shown = capsys.readouterr().out
    assert shown.count("It would be accepted.") == 2
    assert shown.count("Refused: replayed.") == 1


def test_the_reader_can_be_named(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()

    assert explained(captured(letter), arguments=("--as", "auth")) == 1
    assert "for auth" in capsys.readouterr().out


# what it reads


def test_a_payload_may_be_base64_and_headers_an_empty_list(scene: Scene) -> None:
    letter = scene.letter()
    letter.properties["headers"] = []

    message = as_read(
        letter, payload=base64.b64encode(b"\xff\x00").decode(), payload_encoding="base64"
    )

    assert message.body == b"\xff\x00"
    assert message.headers == {}


def test_a_payload_that_was_cut_off_is_said_to_be(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(captured(scene.letter(), payload='{"prod')) == 1
    assert "the payload was cut off" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", "the queue was empty"),
        ('{"event": "auth.login.failed"}', "fields payload and properties"),
        ('{"payload": "_", "properties": [], "payload_encoding": "base64"}', "not the base64"),
    ],
)
def test_what_is_no_captured_message_is_said_to_be_none(text: str, complaint: str) -> None:
    with pytest.raises(CannotRead, match=complaint):
        read_messages(text)


def test_a_missing_file_is_one_sentence(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("no-such-file", "--state", str(state.folder)) == 1
    assert capsys.readouterr().err.startswith("postroad: cannot read no-such-file: ")


def test_a_folder_without_the_readers_keys_is_one_sentence(
    scene: Scene, state: State, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    state.forget("catalog")

    assert explained(captured(scene.letter())) == 1
    assert "has no keys of catalog" in capsys.readouterr().err
    assert not state.identity_file("catalog").exists()


def test_a_reader_that_only_the_message_names_is_looked_up_nowhere(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, aud="../services/catalog")

    assert explained(captured(letter, exchange="")) == 1
    assert "has no keys of ../services/catalog" in capsys.readouterr().err


def test_an_unsigned_message_of_which_nothing_is_known_needs_a_reader(
    explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {"payload": "{}", "properties": []}

    assert explained(bare) == 1
    assert "--as SERVICE" in capsys.readouterr().err
    assert explained(bare, arguments=("--as", "catalog")) == 1
    assert "Refused: unsigned" in capsys.readouterr().out


def test_a_signed_message_of_which_nothing_else_is_known_says_itself_who_reads_it(
    scene: Scene, explained: Callable[..., int]
) -> None:
    assert explained(captured(scene.letter(), exchange="")) == 0


def test_a_forged_claim_does_not_stop_the_rest(scene: Scene) -> None:
    letter = scene.letter()
    claims = claims_of(letter.headers["signature"]) | {"typ": "job", "alg": "EdDSA"}
    letter.headers["signature"] = forge(scene.keys["bridge"], "catalog", letter.body, claims)

    found = failures(tried(scene.keys["catalog"], letter))

    assert found[0] == Reason.UNKNOWN_KEY
    assert Reason.WRONG_TYPE in found


def test_a_request_for_a_method_that_is_not_there_is_an_error(scene: Scene) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, op="catalog.nothing.get")

    assert failures(tried(scene.keys["catalog"], letter)) == ["invalid_request"]
    assert GetProduct.method != "catalog.nothing.get"
