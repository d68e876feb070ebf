"""`postroad explain`: as of which time it judges, what it prints, and what it reads."""

import base64
from argparse import ArgumentTypeError
from collections.abc import Callable
from time import time

import pytest

from ops.commands import explain
from ops.dead_letters.report import ADVICE, MEANINGS
from ops.state.folder import StateFolder
from postroad.dead_letters.captured import CannotRead, read_messages
from postroad.security.claims import Reason
from tests.integration.test_security import Scene
from tests.support.captures import captured
from tests.support.explaining import as_read, command
from tests.support.letters import Letter

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


def test_a_dead_letter_is_judged_as_of_when_it_was_refused(
    scene: Scene, explained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    letter = aged(scene, 3600)
    late = int(time()) - 3500
    letter.headers["x-death"] = [
        {"queue": "rpc.catalog", "reason": "rejected", "exchange": "rpc", "time": late}
    ]

    assert explained(captured(letter, exchange="dead")) == 1
    assert "Refused: expired" in capsys.readouterr().out


def test_a_message_is_judged_as_of_the_time_that_is_given(
    scene: Scene, explained: Callable[..., int]
) -> None:
    letter = aged(scene, 3600)

    assert explained(captured(letter), arguments=("--at", str(time() - 3599))) == 0
    assert explained(captured(letter), arguments=("--at", "2020-01-01T00:00:00Z")) == 1


def test_a_time_that_is_none_is_answered_with_those_that_are() -> None:
    with pytest.raises(ArgumentTypeError, match="'foo' is not a time: write now, 2026-"):
        explain.moment("foo")


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
    assert f"iss  {MEANINGS['iss']:42}bridge" in shown
    assert "s ago)" in shown
    assert "sender_mismatch: auth sent as bridge" in shown
    assert ADVICE[Reason.SENDER_MISMATCH] in shown
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
        ("{", "not JSON"),
        ("[]", "the queue was empty"),
        ('{"event": "auth.login.failed"}', "fields payload and properties"),
        ('{"payload": "_", "properties": [], "payload_encoding": "base64"}', "not the base64"),
    ],
)
def test_what_is_no_captured_message_is_said_to_be_none(text: str, complaint: str) -> None:
    with pytest.raises(CannotRead, match=complaint):
        read_messages(text)


def test_a_missing_file_is_one_sentence(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("no-such-file", "--state", str(state.folder)) == 1
    assert capsys.readouterr().err.startswith("postroad: cannot read no-such-file: ")


def test_a_folder_without_the_readers_keys_is_one_sentence(
    scene: Scene,
    state: StateFolder,
    explained: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
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


def test_a_signed_message_without_properties_names_its_own_reader(
    scene: Scene, explained: Callable[..., int]
) -> None:
    assert explained(captured(scene.letter(), exchange="")) == 0
