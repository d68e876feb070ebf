"""The TypeScript client and the Node example, built in a folder of their own, and at work."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("clients/typescript", "examples/node", "tests/vectors", "docs/asyncapi.json")
INSTALL = ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
BUILD_TIMEOUT_S = 200.0
TIMEOUT_S = 30.0
NODE_MAJOR = 20

_major = 0
if _node := shutil.which("node"):
    _version = subprocess.run([_node, "--version"], capture_output=True, text=True, check=True)
    _major = int(_version.stdout.lstrip("v").partition(".")[0])

needs_npm = pytest.mark.skipif(
    _major < NODE_MAJOR or not shutil.which("npm"), reason=f"needs Node {NODE_MAJOR} and npm"
)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=cwd, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )


@dataclass(frozen=True)
class Workspace:
    """A copy of the client and of the example, where they are in the repository."""

    folder: Path

    @property
    def client(self) -> Path:
        return self.folder / "clients" / "typescript"

    @property
    def example(self) -> Path:
        return self.folder / "examples" / "node"

    def build(self) -> None:
        """Install what they need, and compile them."""
        for part in PARTS:
            source, target = ROOT / part, self.folder / part
            if source.is_dir():
                made = shutil.ignore_patterns("node_modules", "dist", "__pycache__")
                shutil.copytree(source, target, ignore=made)
            else:
                target.parent.mkdir(parents=True)
                shutil.copy2(source, target)
        for project in (self.client, self.example):
            for step in (INSTALL, ("npm", "run", "--silent", "build")):
                done = command(*step, cwd=project)
                assert done.returncode == 0, done.stdout + done.stderr


def built_once(base: Path) -> Workspace:
    """Return a workspace that all workers of a test run share; the first one builds it."""
    workspace = Workspace(base / "typescript")
    with (base / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not workspace.folder.exists():
            workspace.build()
    return workspace


@dataclass
class Program:
    """A program that runs; what it writes is JSON, a line each."""

    process: Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def read_until(self, **wanted: object) -> dict[str, Any]:
        """Read lines until one has some fields, and return it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                text = await self.process.stdout.readline()
                assert text, self.lines
                line = json.loads(text)
                self.lines.append(line)
                if wanted.items() <= line.items():
                    return dict(line)

    async def read(self, count: int, *messages: str) -> None:
        """Read lines until so many have one of some messages."""
        async with asyncio.timeout(TIMEOUT_S):
            while sum(line["message"] in messages for line in self.lines) < count:
                await self.read_until()

    def ask(self, act: str, **wanted: object) -> None:
        """Write a line to a program that reads some."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"act": act} | wanted).encode() + b"\n")

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def end(self) -> None:
        """Ask it to end, by a signal or by the end of its input; see that it does, in order."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.terminate()
        output, errors = await asyncio.wait_for(self.process.communicate(), TIMEOUT_S)
        self.lines += [json.loads(text) for text in output.splitlines()]
        assert (self.process.returncode, errors) == (0, b"")


@asynccontextmanager
async def running(
    folder: Path, *arguments: str, environment: Mapping[str, str]
) -> AsyncIterator[Program]:
    """Run a program of Node's."""
    process = await asyncio.create_subprocess_exec(
        *("node", *arguments),
        cwd=folder,
        env=os.environ | environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
