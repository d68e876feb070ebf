"""Dead letters set aside, or deleted for good."""

import asyncio
import json

import pytest

from postroad.topology.names import QUARANTINE, dead_queue
from tests.integration.dead_letters.running import (
    AUDIT,
    DEAD_SYNC,
    SYNC,
    Captured,
    Command,
    Running,
    worked_off,
)

pytestmark = pytest.mark.integration


def test_what_is_in_quarantine_can_be_looked_at_and_put_back(
    running: Running, command: Command, capsys: Captured
) -> None:
    (message_id,) = running.bury(signed_at=1.0)
    assert command("quarantine", "--id", message_id, "--yes") == 0
    capsys.readouterr()

    assert command("list", "--json") == 0
    (letter,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (letter["queue"], letter["died_in"], letter["reason"], letter["caller"]) == (
        *(QUARANTINE, SYNC, "expired", "catalog"),
    )

    assert command("redrive", "--queue", QUARANTINE, "--yes") == 0
    assert asyncio.run(worked_off(running, count=1)) == {"ok": 1, "done": 1}
    assert running.depth(QUARANTINE) == 0
    assert [line["what"] for line in running.noted()] == ["quarantined", "redriven"]


def test_purging_wants_a_yes(running: Running, command: Command, capsys: Captured) -> None:
    running.bury(2)
    running.bury(1, sender="auth")

    assert command("purge", "--caller", "catalog") == 0
    assert capsys.readouterr().out == (
        "2 messages would be deleted from dead.work.catalog.sync for good\n"
        "run it again with --yes\n"
    )
    running.comes_to(DEAD_SYNC, 2)

    assert command("purge", "--caller", "catalog", "--yes") == 0
    assert running.depth(DEAD_SYNC) == 0
    running.comes_to(dead_queue(AUDIT), 1)
    assert [line["what"] for line in running.noted()] == ["purged", "purged"]


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1), ("n", 1)])
def test_at_a_terminal_purging_asks(
    running: Running,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
) -> None:
    running.bury()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: answer)

    assert command("purge") == 0

    running.comes_to(DEAD_SYNC, left)
