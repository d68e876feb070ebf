"""Processes that are started anew while the old ones go on, with Python programs for workers."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ops.local.processes import command_line, settle
from ops.local.supervisor import Supervisor
from ops.local.worker import NotStarted, Program

SERVING = """
import http.server, os, pathlib, signal, sys

class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_open = pathlib.Path("ready").exists()
        self.wfile.write(b'postroad_broker_connections_open{role="consumer"} %d\\n' % is_open)

    def log_message(self, *_):
        pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("starting", flush=True)
port = int(os.environ["METRICS_PORT"])
http.server.HTTPServer(("127.0.0.1", port), Metrics).serve_forever()
"""
SLEEPER = "import time; time.sleep(600)"
DEADLINE_S = 10.0


class Group:
    """A supervisor with one program, whose code is a file that can be changed."""

    def __init__(self, folder: Path, *, ready_timeout_s: float = DEADLINE_S) -> None:
        self.code = folder / "program.py"
        self.ready = folder / "ready"
        self.written: list[str] = []
        self.supervisor = Supervisor(
            drain_grace_s=5.0,
            first_delay_s=0.05,
            ready_timeout_s=ready_timeout_s,
            take=self._take,
        )

    def _take(self, _: str, lines: bytes) -> None:
        self.written.append(lines.decode())

    async def start(self, code: str, *, replicas: int = 1, has_metrics: bool = True) -> list[int]:
        self.code.write_text(code)
        self.ready.touch()
        argv = ("/bin/sh", "-c", f"cd {self.code.parent}; exec {sys.executable} {self.code}")
        program = Program("worker", argv, {"PATH": os.environ["PATH"]}, has_metrics)
        self.supervisor.start(program, replicas=replicas)
        await eventually(lambda: len(self.pids) == replicas)
        if code == SERVING:
            await eventually(lambda: len(self.written) == replicas)
        return self.pids

    @property
    def pids(self) -> list[int]:
        return self.supervisor.pids("worker")


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    group = Group(tmp_path)
    yield group
    await group.supervisor.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    assert await settle(condition, timeout_s=DEADLINE_S)


def alive(pid: int) -> bool:
    return bool(command_line(pid))


def running(code: Path) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if str(code) in command_line(pid)]


async def test_all_processes_are_replaced_and_the_old_ones_end(group: Group) -> None:
    old = await group.start(SERVING, replicas=3)

    replaced = await group.supervisor.replace("worker")

    assert replaced == len(group.pids) == 3
    assert not set(old) & set(group.pids)
    assert not any(map(alive, old))
    assert group.supervisor.crashes("worker") == 0
    assert group.supervisor.draining("worker") == 0


async def test_an_old_process_goes_on_until_the_new_one_is_ready(group: Group) -> None:
    (old,) = await group.start(SERVING)
    group.ready.unlink()
    began = len(group.written)

    replacing = asyncio.create_task(group.supervisor.replace("worker"))
    _, pending = await asyncio.wait([replacing], timeout=0.5)

    assert pending
    assert group.pids == [old]
    assert len(group.written) == began  # what the new one wrote is held back
    group.ready.touch()
    await replacing
    assert group.pids != [old]
    assert group.written[began:] == ["starting\n"]


async def test_a_new_process_that_ends_leaves_the_old_one(group: Group) -> None:
    (old,) = await group.start(SERVING)
    group.code.write_text("def broken(:\n")

    with pytest.raises(NotStarted, match=r"^exit status 1: SyntaxError: "):
        await group.supervisor.replace("worker")

    assert group.pids == [old]
    assert group.supervisor.crashes("worker") == 0
    (traceback,) = [text for text in group.written if "SyntaxError" in text]
    assert "def broken(:" in traceback


async def test_a_new_process_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    group = Group(tmp_path, ready_timeout_s=0.5)
    (old,) = await group.start(SERVING)
    group.ready.unlink()

    with pytest.raises(NotStarted, match=r"not ready after 0\.5 s"):
        await group.supervisor.replace("worker")

    assert group.pids == [old]
    await eventually(lambda: group.supervisor.draining("worker") == 0)
    await group.supervisor.stop()


async def test_a_process_that_crashes_again_and_again_is_replaced_at_once(group: Group) -> None:
    await group.start("raise SystemExit(3)", replicas=0)
    group.supervisor.scale("worker", 1)
    await eventually(lambda: group.supervisor.crashes("worker") > 0)
    group.code.write_text(SERVING)

    await group.supervisor.replace("worker")

    assert len(group.pids) == 1


async def test_a_worker_let_go_meanwhile_has_no_successor(group: Group) -> None:
    await group.start(SERVING)
    group.ready.unlink()
    replacing = asyncio.create_task(group.supervisor.replace("worker"))
    await asyncio.wait([replacing], timeout=0.2)

    group.supervisor.scale("worker", 0)
    group.ready.touch()
    await replacing

    assert group.supervisor.replicas("worker") == 0
    await eventually(lambda: group.supervisor.draining("worker") == 0)


async def test_a_replacement_given_up_leaves_the_old_process_alone(group: Group) -> None:
    old = await group.start(SERVING)
    group.ready.unlink()
    replacing = asyncio.create_task(group.supervisor.replace("worker"))
    await asyncio.wait([replacing], timeout=0.2)

    replacing.cancel()
    await asyncio.gather(replacing, return_exceptions=True)

    assert group.pids == old
    await eventually(lambda: group.supervisor.draining("worker") == 0)


async def test_a_program_without_metrics_starts_when_the_old_one_has_ended(group: Group) -> None:
    (old,) = await group.start(SLEEPER, has_metrics=False)

    await group.supervisor.replace("worker")

    await eventually(lambda: bool(group.pids))
    assert group.pids != [old]
    assert not alive(old)


async def test_a_supervisor_that_stops_leaves_no_process_on_trial(group: Group) -> None:
    await group.start(SERVING)
    group.ready.unlink()
    replacing = asyncio.create_task(group.supervisor.replace("worker"))
    await asyncio.wait([replacing], timeout=0.2)

    await group.supervisor.stop()

    with pytest.raises(NotStarted):
        await replacing
    assert not running(group.code)
