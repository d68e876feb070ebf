"""Revisions of this repository, each run by its own `postroad up`, with a broker of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import requests

from benchmarks.contenders import PATH, PeerError
from benchmarks.load import Target
from benchmarks.machine import ROOT
from benchmarks.system import READY_TIMEOUT_S, SETTINGS, sign_in
from benchmarks.usage import descendants
from ops.health import selfcheck
from ops.health.selfcheck import SelfCheckError
from ops.local import ports, processes
from ops.local.ports import LOOPBACK

STOP_GRACE_S = 30.0


def short_commit(revision: str, repository: Path = ROOT) -> str | None:
    """Return the short hash of a commit; none when the repository has no such revision."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--short", f"{revision}^{{commit}}"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def unpack(commit: str, folder: Path, repository: Path = ROOT) -> Path:
    """Put a commit's files into a folder of its own; what was installed there stays."""
    tree = folder / commit
    tree.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(
        ["git", "archive", commit], cwd=repository, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    return tree


def set_up(tree: Path, venv: Path) -> Path:
    """Have a tree's own `bin/setup` install what it locks, once; return its command."""
    environment = {**os.environ, "VENV": str(venv), "BASE_PYTHON": sys.executable}
    subprocess.run([tree / "bin" / "setup"], env=environment, check=True)
    return venv / "bin" / "postroad"


def command_of(commit: str | None, folder: Path) -> tuple[Path, Path]:
    """Return the `postroad` of a commit, none for the working tree, and the folder to run it in.

    Raises:
        PeerError: it does not install.
    """
    try:
        tree = unpack(commit, folder) if commit else ROOT
        return set_up(tree, folder / f"venv-{commit or 'now'}"), tree
    except (subprocess.CalledProcessError, OSError) as error:
        raise PeerError(f"does not install: {error}") from error


@asynccontextmanager
async def brought_up(name: str, commit: str | None, folder: Path) -> AsyncIterator[Target]:
    """Run all of a commit by its `postroad up`, one process of each program.

    Args:
        commit: none for the working tree.
        folder: where commits are unpacked; each keeps its environment and its state there.

    Raises:
        PeerError: it does not install or start.
    """
    postroad, tree = await asyncio.to_thread(command_of, commit, folder)
    (port,) = ports.free_ports(1)
    state = folder / f"state-{commit or 'now'}"
    url, log = f"http://{LOOPBACK}:{port}", state.with_suffix(".log")
    with log.open("wb") as output:
        child = processes.spawn(
            [postroad, "up", "--no-scaling", "--port", str(port), "--state", state],
            env={**os.environ, **SETTINGS, "PYTHONPATH": ""},
            cwd=tree,  # `python -m http_bridge` looks here first
            output=output,
        )

    def alive() -> None:
        if child.poll() is not None:
            raise PeerError(f"`postroad up` ended; {log} says why")

    try:
        try:
            await selfcheck.answers(f"{url}/readyz", timeout_s=READY_TIMEOUT_S, alive=alive)
            token = await asyncio.to_thread(sign_in, url)
        except (SelfCheckError, requests.RequestException) as error:
            raise PeerError(f"does not start: {error}; {log} says why") from error
        lines = {pid: processes.command_line(pid) for pid in descendants([child.pid])}
        yield Target(name, f"{url}{PATH}", {"Authorization": f"Bearer {token}"}, by_role(lines))
    finally:
        await processes.stop(child, grace_s=STOP_GRACE_S)


def by_role(command_lines: Mapping[int, Sequence[str]]) -> dict[str, list[int]]:
    """Find the processes that a listing takes among those of `postroad up`."""
    found: dict[str, list[int]] = {"bridge": [], "worker": [], "rabbitmq": []}
    for pid, line in command_lines.items():
        match line:
            case [*_, "-m", "http_bridge"]:
                found["bridge"].append(pid)
            case [*_, "-m", "catalog_worker"]:
                found["worker"].append(pid)
            case [program, *_] if program.endswith("/beam.smp"):
                found["rabbitmq"].append(pid)
    return found
