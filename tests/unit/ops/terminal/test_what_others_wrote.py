"""Whatever others wrote: a terminal obeys none of it, and it looks like no line of ours."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, cast

import pytest

from ops.commands import call, dead_letters_view, status_view, tail, trace, up_view
from ops.dead_letters.diagnosis import Reader
from ops.dead_letters.letter import DeadLetter
from ops.logs.lines import Renderer, parse_line
from ops.logs.trace_tree import build_tree, find_steps
from ops.terminal.text import show
from postroad.broker.interfaces import Delivery
from postroad.contracts.events import ProductAdded
from postroad.dead_letters.captured import CapturedMessage, as_management
from postroad.messaging.event_listener import ReceivedEvent
from tests.integration.test_security import Scene
from tests.support.explaining import ASKED, diagnosed

FAKE = "2026-01-01 00:00:00 bridge  info     all is well"
# A window's title, a forged line, control sequences of one character, text that runs backwards.
ATTACK = f"\x1b]0;PWNED\x07\n{FAKE}\r{FAKE}\x9b2J\x7f\u202e\u2028{FAKE}"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).isoformat()


def logged(**fields: Any) -> bytes:
    usual = {"event": "http", "service": "bridge", "level": "info", "time": NOON}
    return json.dumps(usual | fields, ensure_ascii=False).encode()


HTTP = logged(
    method="GET", path=f"/{ATTACK}", outcome="not_found", request_id="r1",
    trace_id="a" * 32, duration_ms=1.0,
)  # fmt: skip
STRAY = ATTACK.replace("\n", " ").encode()


def in_the_log(line: bytes) -> str:
    return Renderer(has_colours=False)(parse_line("bridge", line))


def in_the_log_as_json(line: bytes) -> str:
    return parse_line("bridge", line).to_json()


def assert_harmless(text: str) -> None:
    """Its lines are ours alone, and there is nothing in them but what is seen."""
    lines = text.removesuffix("\n").split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.startswith(FAKE[:10])] == []
    assert "PWNED" in text


@pytest.mark.parametrize("line", [HTTP, STRAY], ids=["log", "stray"])
@pytest.mark.parametrize("shown", [in_the_log, in_the_log_as_json])
def test_postroad_logs_shows_it_harmless(line: bytes, shown: Callable[[bytes], str]) -> None:
    assert_harmless(shown(line))
    assert "\n" not in shown(line)


def test_a_path_looks_like_no_other_field_of_its_line() -> None:
    shown = in_the_log(logged(path='/x status=200 "', status=404))

    assert shown.endswith(r' path="/x status=200 \"" status=404')


def test_an_error_s_own_text_begins_no_line() -> None:
    shown = in_the_log(logged(exception=f"Traceback\n\tValueError: {ATTACK}"))

    assert_harmless(shown)
    assert all(line.startswith("  ") for line in shown.split("\n")[1:])


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_postroad_up_shows_it_harmless(
    log_format: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", log_format)

    up_view.show_log(HTTP + b"\n" + STRAY + b"\n")

    shown = capsys.readouterr().out
    assert_harmless(shown)
    assert shown.count("\n") == 2


def test_postroad_trace_shows_it_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    steps = find_steps([parse_line("bridge", HTTP)], "r1")

    show(trace._written(steps, build_tree(steps)))

    shown = capsys.readouterr().out
    assert_harmless(shown)
    assert shown.count("\n") == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_postroad_tail_shows_it_harmless(as_json: bool) -> None:
    received = ReceivedEvent(
        ProductAdded(product_id=7, title=ATTACK, price=89.0, sync_id="s"),
        message_id=ATTACK,
        correlation_id="c1",
        sender=ATTACK,
        sent_at=0,
    )

    shown = (tail._as_json if as_json else tail._for_people([ProductAdded]))(received)

    assert_harmless(shown)
    assert "\n" not in shown
    if as_json:
        assert json.loads(shown)["title"] == ATTACK


def test_postroad_call_shows_it_harmless_and_as_json() -> None:
    shown = call._shown({"title": ATTACK}, in_colour=False)

    assert_harmless(shown)
    assert json.loads(shown) == {"title": ATTACK}


def test_postroad_dead_letters_shows_it_harmless(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = scene.letter()
    letter.headers["signature"] = scene.forged(letter, jti=ATTACK, op=ATTACK, iss=ATTACK)
    letter.headers[ATTACK] = ATTACK
    letter.body = json.dumps({"title": ATTACK}, ensure_ascii=False).encode()
    unsettled = cast(Delivery, None)
    diagnosis = diagnosed(scene.keys["catalog"], letter)
    dead = DeadLetter(f"dead.{ATTACK}", ATTACK, unsettled, diagnosis)

    show(dead_letters_view.whole(dead, ATTACK))
    show(dead_letters_view.groups([dead], time()))
    show(dead_letters_view.each([dead], time()))

    assert_harmless(capsys.readouterr().out)


@pytest.mark.parametrize("body", ["[" * 4096, "[" * 2000 + "]" * 2000], ids=["open", "closed"])
def test_postroad_dead_letters_shows_what_is_nested_without_end(
    scene: Scene, capsys: pytest.CaptureFixture[str], body: str
) -> None:
    letter = scene.letter()
    letter.body = body.encode()
    dead = DeadLetter("dead", "", cast(Delivery, None), diagnosed(scene.keys["catalog"], letter))

    show(dead_letters_view.whole(dead, None))

    assert f"  {len(body)} bytes that are not JSON, or are nested too deep\n" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "headers",
    [
        {b"\xff": "x", "table": {b"\xff": b"\xff"}},
        {"authorization": True},
        {"x-death": [{"queue": "rpc.catalog", "time": 10**18}]},
    ],
    ids=["bytes", "a token that is no text", "a time that no calendar has"],
)
def test_postroad_dead_letters_shows_headers_of_any_type(
    scene: Scene, capsys: pytest.CaptureFixture[str], headers: dict[str, Any]
) -> None:
    letter = scene.letter()
    letter.headers.update(headers)
    letter.properties["message_id"] = b"\xff"
    message = CapturedMessage(letter.body, letter.as_sent(), "", "", is_whole=True)
    diagnosis = Reader(scene.keys["catalog"]).diagnose(message, ASKED, time())
    dead = DeadLetter("dead", "", cast(Delivery, None), diagnosis)

    show(dead_letters_view.whole(dead, None))
    show(dead_letters_view.each([dead], time()))

    assert "headers\n" in capsys.readouterr().out
    assert json.dumps(as_management(dead.message))


def test_postroad_status_shows_it_harmless() -> None:
    status = status_view.Status("", "", "", [status_view.Queue(ATTACK, 0, 0, 0.0, 0.0, 0)], None)

    assert_harmless(status_view.page(status, colours=False))
