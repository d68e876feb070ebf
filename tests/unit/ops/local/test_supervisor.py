"""The supervisor, with small shell and Python programs for workers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from ops.local.ports import LOOPBACK
from ops.local.processes import command_line, settle
from ops.local.supervisor import Supervisor
from ops.local.worker import Program

SLEEPER = (sys.executable, "-c", "import os, time; os.write(1, b'up\\n'); time.sleep(600)")
IGNORE_SIGTERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
time.sleep(600)
"""
STUBBORN = (sys.executable, "-c", IGNORE_SIGTERM)
ENV = {"PATH": os.environ["PATH"]}
DEADLINE_S = 10.0


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(drain_grace_s=1.0, first_delay_s=0.05)
    yield supervisor
    await supervisor.stop()


def program(*argv: str, name: str = "worker") -> Program:
    return Program(name, argv, ENV)


def script(text: str, *arguments: str) -> Program:
    return program("/bin/sh", "-c", text, "sh", *arguments)


def alive(pid: int) -> bool:
    return bool(command_line(pid))  # a zombie has none


async def eventually(condition: Callable[[], bool]) -> None:
    assert await settle(condition, timeout_s=DEADLINE_S)


async def pids_of(supervisor: Supervisor, count: int, name: str = "worker") -> list[int]:
    await eventually(lambda: len(supervisor.pids(name)) == count)
    return supervisor.pids(name)


async def test_a_group_starts_with_the_replicas_wanted(supervisor: Supervisor) -> None:
    supervisor.start(program(*SLEEPER), replicas=3)

    assert len(set(await pids_of(supervisor, 3))) == 3


async def test_scaling_up_keeps_the_workers_there_are(supervisor: Supervisor) -> None:
    supervisor.start(program(*SLEEPER))
    first = await pids_of(supervisor, 1)

    supervisor.scale("worker", 3)

    assert (await pids_of(supervisor, 3))[:1] == first


async def test_scaling_down_ends_the_newest(supervisor: Supervisor) -> None:
    supervisor.start(program(*SLEEPER), replicas=3)
    oldest, *newer = await pids_of(supervisor, 3)

    supervisor.scale("worker", 1)

    await eventually(lambda: not any(map(alive, newer)))
    assert supervisor.pids("worker") == [oldest]
    assert alive(oldest)


async def test_a_worker_let_go_gets_time_to_drain(supervisor: Supervisor, tmp_path: Path) -> None:
    ready, drained = tmp_path / "ready", tmp_path / "drained"
    text = 'trap "sleep 0.3; touch $2; exit" TERM; touch $1; while :; do sleep 0.05; done'
    supervisor.start(script(text, str(ready), str(drained)))
    await eventually(ready.exists)

    supervisor.scale("worker", 0)

    await eventually(drained.exists)


async def test_a_worker_that_does_not_drain_is_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    supervisor.start(program(*STUBBORN, str(ready)))
    (pid,) = await pids_of(supervisor, 1)
    await eventually(ready.exists)

    supervisor.scale("worker", 0)

    await eventually(lambda: not alive(pid))


async def test_scaling_up_does_not_wait_for_a_worker_that_drains(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    supervisor.start(program(*STUBBORN, str(ready)))
    (draining,) = await pids_of(supervisor, 1)
    await eventually(ready.exists)

    supervisor.scale("worker", 0)
    supervisor.scale("worker", 1)

    assert await pids_of(supervisor, 1) != [draining]
    assert alive(draining)


async def test_a_crashed_worker_is_replaced(supervisor: Supervisor) -> None:
    supervisor.start(program(*SLEEPER))
    (crashed,) = await pids_of(supervisor, 1)

    os.kill(crashed, signal.SIGKILL)

    await eventually(lambda: supervisor.crashes("worker") == 1)
    assert await pids_of(supervisor, 1) != [crashed]


async def test_a_worker_that_crashes_again_and_again_is_started_less_often(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    with structlog.testing.capture_logs() as lines:
        supervisor.start(script('date +%s.%N >> "$1"; exit 3', str(starts)))

        await eventually(lambda: supervisor.crashes("worker") >= 4)

    pauses = [line["again_in_s"] for line in lines if line["event"] == "worker ended"]
    times = [float(line) for line in starts.read_text().split()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert all(gap > pause for gap, pause in zip(gaps, pauses, strict=False))


async def test_a_program_that_is_not_there_counts_as_a_crash(supervisor: Supervisor) -> None:
    supervisor.start(program("/no/such/program"))

    await eventually(lambda: supervisor.crashes("worker") >= 1)


async def test_what_a_worker_started_goes_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    supervisor.start(script('sleep 600 & echo $! > "$1.new"; mv "$1.new" "$1"; wait', str(note)))
    await eventually(note.exists)
    grandchild = int(note.read_text())
    await eventually(lambda: alive(grandchild))  # while it becomes `sleep` it has no command line

    await supervisor.stop()

    await eventually(lambda: not alive(grandchild))


async def test_stop_goes_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    text = 'trap "echo $2 >> $1; exit" TERM; touch "$1.$2"; while :; do sleep 0.05; done'
    for name in ("first", "second", "third"):
        argv = ("/bin/sh", "-c", text, "sh", str(order), name)
        supervisor.start(program(*argv, name=name))
        await eventually(Path(f"{order}.{name}").exists)

    await supervisor.stop()

    assert order.read_text().split() == ["third", "second", "first"]


async def test_a_cancelled_supervisor_leaves_no_process(tmp_path: Path) -> None:
    supervisor = Supervisor(drain_grace_s=60)
    ready = tmp_path / "ready"
    supervisor.start(program(*STUBBORN, str(ready)))
    (pid,) = await pids_of(supervisor, 1)
    await eventually(ready.exists)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.wait([stopping], timeout=0.1)

    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)

    await eventually(lambda: not alive(pid))


def test_workers_die_with_a_killed_supervisor() -> None:
    story = (
        "import asyncio, sys\n"
        "from ops.local.processes import settle\n"
        "from ops.local.supervisor import Supervisor\n"
        "from ops.local.worker import Program\n"
        "async def main():\n"
        "    supervisor = Supervisor()\n"
        f"    supervisor.start(Program('worker', {SLEEPER!r}, {{}}))\n"
        f"    await settle(lambda: supervisor.pids('worker'), timeout_s={DEADLINE_S})\n"
        "    sys.stdout.write(f\"{supervisor.pids('worker')[0]}\\n\")\n"  # a line at once
        "    sys.stdout.flush()\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", story], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        lines = {parent.stdout.readline(), parent.stdout.readline()}  # whichever comes first
        assert "up\n" in lines  # the worker inherits standard output
        worker = int((lines - {"up\n"}).pop())

        parent.kill()

    assert asyncio.run(settle(lambda: not alive(worker), timeout_s=DEADLINE_S))


async def test_two_groups_of_one_name_are_refused(supervisor: Supervisor) -> None:
    supervisor.start(program(*SLEEPER))

    with pytest.raises(ValueError, match="a group worker already"):
        supervisor.start(program(*SLEEPER))


async def test_a_metrics_port_is_its_processs_alone_and_given_back(supervisor: Supervisor) -> None:
    supervisor.start(replace(program(*SLEEPER), has_metrics=True))
    await pids_of(supervisor, 1)
    (port,) = supervisor.metrics_ports("worker")

    with socket.socket() as stranger:
        with pytest.raises(OSError, match="in use"):
            stranger.bind((LOOPBACK, port))
        await supervisor.stop()
        stranger.bind((LOOPBACK, port))
