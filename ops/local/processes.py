"""Child processes that never outlive us."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> Callable[[], None]:
    """Give what a child runs before its program: the kernel is to kill it when `parent` dies.

    The wish survives exec, so it holds for the program, but not fork: it is asked of each child.
    """

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: IO[bytes] | int | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C in the terminal is ours alone.

    Call it on the main thread: the kernel takes the death of the thread for that of the parent.
    """
    return subprocess.Popen(
        [str(argument) for argument in argv],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        pass_fds=descriptors,
        preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - no other threads hold locks here
    )


async def stop(child: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """Ask a child to end; after `grace_s`, and for what it left behind, do not ask."""
    if child.poll() is None:
        child.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(ended(child), grace_s)
    kill(child)


async def ended(child: subprocess.Popen[bytes]) -> int:
    """Wait until a child has ended; give its exit status, negative for a signal's number."""
    if child.poll() is None:
        descriptor = os.pidfd_open(child.pid)
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return child.wait()


def kill(child: subprocess.Popen[bytes]) -> None:
    """End a child and its whole session at once."""
    with suppress(ProcessLookupError, PermissionError):  # the session is empty, or not ours now
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


async def end_stranger(pid: int, *, grace_s: float) -> None:
    """Ask a process that is not our child to end; after `grace_s`, do not ask."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not await settle(lambda: not command_line(pid), timeout_s=grace_s):
            os.kill(pid, signal.SIGKILL)
            await settle(lambda: not command_line(pid), timeout_s=grace_s)


async def settle(done: Callable[[], bool], *, timeout_s: float) -> bool:
    """Wait until something outside this program has come about; tell whether it has."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def command_line(pid: int) -> list[str]:
    """Give a process's arguments, none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []
