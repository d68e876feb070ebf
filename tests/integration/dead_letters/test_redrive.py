"""Dead letters put back to work: `postroad dead-letters redrive` on a running broker."""

import asyncio
import os
import signal
import subprocess
import sys
from time import time

import pytest

from postroad.contracts.syncs import FetchPage
from postroad.security.signatures import Verifier
from postroad.testing import eventually
from tests.integration.dead_letters.running import (
    DEAD_SYNC,
    SYNC,
    Captured,
    Command,
    Running,
    worked_off,
)

pytestmark = pytest.mark.integration

# killed as by `kill -9` when it is about to ack what the broker has confirmed elsewhere
KILLED_BEFORE_ITS_ACK = """
import os, signal, sys
from postroad.broker.deliveries import Delivery

acks = 0
def ack(self, ack=Delivery.ack):
    global acks
    acks += 1
    if acks == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    ack(self)
Delivery.ack = ack

from ops.cli import main
sys.exit(main())
"""


def test_without_yes_it_only_says_what_it_would_do(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(12)

    assert command("redrive") == 0

    assert capsys.readouterr().out == (
        "12 messages would go back to work.catalog.sync\nrun it again with --yes\n"
    )
    running.comes_to(DEAD_SYNC, 12)
    assert running.depth(SYNC) == 0
    assert not running.noted()


def test_what_is_put_back_is_done_by_a_worker(
    running: Running, command: Command, capsys: Captured
) -> None:
    ids = running.bury(3)
    ids += running.bury(2, signed_at=1.0)  # the old signature would not do

    assert command("redrive", "--yes") == 0

    assert "redriven: 5 messages back to work.catalog.sync" in capsys.readouterr().out
    assert asyncio.run(worked_off(running, count=5)) == {"ok": 5, "done": 5}
    assert running.depth(DEAD_SYNC) == 0
    assert [line["message_id"] for line in running.noted()] == ids
    assert {(line["what"], line["name"]) for line in running.noted()} == {
        ("redriven", FetchPage.name)
    }
    assert all(line["who"] and line["time"] for line in running.noted())


def test_no_more_than_the_limit_go_the_oldest_first(running: Running, command: Command) -> None:
    ids = running.bury(6)

    assert command("redrive", "--limit", "2", "--yes") == 0

    gone = [properties.message_id for properties, _ in running.take_all(SYNC)]
    assert len(gone) == 2
    running.comes_to(DEAD_SYNC, 4)
    assert set(gone) < set(ids)


def test_they_go_no_faster_than_the_rate(running: Running, command: Command) -> None:
    running.bury(5)
    began = time()

    assert command("redrive", "--rate", "10", "--yes") == 0

    assert time() - began >= 0.4


def test_killed_half_way_nothing_is_lost_and_a_second_one_has_the_same_id(
    running: Running, command: Command
) -> None:
    ids = running.bury(5)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_ITS_ACK, "dead-letters", "redrive", "--yes"],
        env=os.environ | {"POSTROAD_STATE": str(running.state.folder)},
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    running.comes_to(SYNC, 3)
    asyncio.run(eventually(lambda: running.depth(DEAD_SYNC) >= 3))  # the broker has them back

    assert command("redrive", "--yes") == 0

    gone = running.take_all(SYNC)
    assert running.depth(DEAD_SYNC) == 0
    found = [properties.message_id for properties, _ in gone]
    assert set(found) == set(ids)
    verifier = Verifier(running.keys("catalog"))
    signed = {
        verifier.verify(properties.headers["signature"], body, typ=None).jti
        for properties, body in gone
    }
    assert signed == set(ids)
    assert set(ids) <= {line["message_id"] for line in running.noted()}
