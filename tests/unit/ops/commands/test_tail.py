"""`postroad tail`: which events a pattern means, and how one looks."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.commands import tail
from ops.commands.dispatch import run_command
from ops.commands.errors import CommandError
from ops.commands.tail import _chosen
from ops.local.ports import LOOPBACK, free_ports
from postroad.contracts.events import LoginFailed, ProductAdded
from postroad.contracts.registry import EVENTS
from postroad.messaging.event_listener import ReceivedEvent

LOGINS = {"auth.login.failed", "auth.login.succeeded"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("#", set(EVENTS)),
        ("auth.login.*", LOGINS),
        ("auth.login.#", LOGINS),
        ("auth.login.failed.#", {"auth.login.failed"}),
        ("*.session.revoked", {"auth.session.revoked"}),
        ("auth.session.revoked", {"auth.session.revoked"}),
        ("auth.#.failed", {"auth.login.failed"}),
    ],
)
def test_a_pattern_means_what_it_means_to_the_broker(pattern: str, names: set[str]) -> None:
    assert {event.name for event in _chosen(pattern)} == names


@pytest.mark.parametrize("pattern", ["auth.*", "auth.login", "auth.logins.*", "authxlogin.failed"])
def test_a_pattern_that_means_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(CommandError, match="no event is like"):
        _chosen(pattern)


def test_who_waits_for_a_broker_is_told_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)  # where nobody listens
    run_command(["provision", "--operator", "--state", str(tmp_path)])

    with subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "tail", "events", "--state", str(tmp_path)],
        env=os.environ | {"BROKER_URLS": f"amqp://{LOOPBACK}:{port}/postroad"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            said = process.stderr.readline()
        finally:
            process.kill()

    assert said == "postroad: waiting for the broker, which does not answer\n"


# how one looks

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RECEIVED = ReceivedEvent(
    ProductAdded(product_id=7, title='a "lamp"\x9b2J', price=89.0, sync_id="s"),
    message_id="m1",
    correlation_id="c1",
    sender="catalog",
    sent_at=NOON.timestamp(),
)


def in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called by a test itself: its output is not yet captured while fixtures are made."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_an_event_is_a_line_of_time_name_sender_and_fields() -> None:
    line = tail._for_people([LoginFailed, ProductAdded])(RECEIVED)

    assert line == (
        f"{NOON.astimezone():%H:%M:%S} catalog.product.added catalog  "
        'product_id=7 title="a \\"lamp\\"\\u009b2J" price=89.0 sync_id="s" message_id=m1'
    )


def test_in_a_terminal_it_has_colours_unless_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = tail._for_people([ProductAdded])(RECEIVED)
    in_a_terminal(monkeypatch)
    coloured = tail._for_people([ProductAdded])(RECEIVED)
    monkeypatch.setenv("NO_COLOR", "1")
    unwanted = tail._for_people([ProductAdded])(RECEIVED)

    assert plain == unwanted == re.sub(r"\x1b\[\d+m", "", coloured)
    assert "\x1b[1mcatalog.product.added\x1b[0m" in coloured


def test_for_programs_it_is_its_name_and_its_fields() -> None:
    assert json.loads(tail._as_json(RECEIVED)) == {
        "event": "catalog.product.added",
        **RECEIVED.event.model_dump(),
    }
