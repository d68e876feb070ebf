"""Services that are added to a copy of the repository: by the guide, to the letter, and written."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from ops.local import ports
from ops.local.ports import LOOPBACK
from ops.terminal.interrupts import INTERRUPTED
from postroad.testing import eventually
from tests.e2e.system import until_ready

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "adding-a-service.md").read_text()
MANY_LINES = 40
TIMEOUT_S = 60.0

FILE = re.compile(r"^\*\*`(\S+)`\*\*\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE = shutil.ignore_patterns(
    *(".*_cache", "__pycache__", ".git", ".postroad", ".venv*", "node_modules")
)


@dataclass(frozen=True)
class Snippet:
    """What the guide shows of one file."""

    path: str
    kind: str
    text: str


@dataclass(frozen=True)
class Command:
    """What the guide has its reader type, and what is shown of the output."""

    line: str
    output: str

    def matches(self, output: str) -> bool:
        """Compare with what was printed; ``…`` stands for what differs each time."""
        pattern = ".*".join(re.escape(part) for part in self.output.split("…"))
        return re.fullmatch(pattern, output) is not None


SNIPPETS = [Snippet(*found) for found in FILE.findall(GUIDE)]
COMMANDS = [
    Command(*(f"{typed}\n".split("\n", 1)))
    for block in CONSOLE.findall(GUIDE)
    for typed in block.removeprefix("$ ").rstrip("\n").split("\n$ ")
]
NEW = (
    ".venv/bin/postroad new service shipments --method create --method get --event created"
    " --job labels.print --database --http"
)
CHECKS = [
    f"{sys.executable} -m {check} shipments_worker tests/unit/shipments_worker; echo $?"
    for check in ("ruff check -q", "ruff format -q --check", "mypy")
]
SIGN_IN = {"username": "admin", "password": "admin"}
UP = [command.line for command in COMMANDS].index("make run")


def not_copied(folder: str, names: list[str]) -> set[str]:
    """Name what commands have made, and folders that hold nothing else: git does not see them."""
    made = MADE(folder, names)
    empty = {name for name in names if name not in made and _is_empty(Path(folder, name))}
    return made | empty


def _is_empty(path: Path) -> bool:
    if not path.is_dir():
        return False
    inside = {each.name: each for each in path.iterdir()}
    made = MADE(str(path), list(inside))
    return all(_is_empty(each) for name, each in inside.items() if name not in made)


def apply(snippet: Snippet, folder: Path) -> None:
    """Do with a file what its snippet shows: write it, change it, or add to its end."""
    file = folder / snippet.path
    if snippet.kind == "diff":
        file.write_text(patched(file.read_text(), snippet.text))
    elif file.exists():
        file.write_text(file.read_text() + snippet.text)
    else:
        file.write_text(snippet.text)


def patched(text: str, diff: str) -> str:
    """Replace the lines that a diff shows, wherever they are, which is once."""
    for hunk in diff.split("@@\n"):
        lines = [(line[:1], line[1:]) for line in hunk.splitlines(keepends=True)]
        before = "".join(line for sign, line in lines if sign != "+")
        after = "".join(line for sign, line in lines if sign != "-")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def environment(folder: Path) -> dict[str, str]:
    """Have the copy's modules found before ours."""
    return os.environ | {
        "PYTHONPATH": f"{folder}:{folder / 'shared'}",
        "POSTROAD_STATE": str(folder / ".postroad"),
    }


def run(command: Command, folder: Path) -> str:
    """Run one of the guide's commands in the copy; give what it prints."""
    return subprocess.run(
        _argv(command.line),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    ).stdout


def git(folder: Path, *arguments: str) -> str:
    """Run git in the copy, and give what it prints."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _argv(line: str) -> list[str]:
    """Give what a command comes to in a checkout that has been set up."""
    match shlex.split(line):
        case [".venv/bin/postroad", *arguments]:
            return [sys.executable, "-m", "ops.cli", *arguments]
        case ["make", "test", arguments]:
            words = arguments.removeprefix("ARGS=").split()
            return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        case _:
            return ["/bin/sh", "-c", line]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the repository, in which all snippets have been applied."""
    folder = tmp_path_factory.mktemp("copy") / "postroad"
    shutil.copytree(ROOT, folder, ignore=not_copied)
    run(COMMANDS[0], folder)  # makes a folder for what follows
    for snippet in SNIPPETS:
        apply(snippet, folder)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """Run `postroad up` in the copy until Ctrl-C, and give its URL."""
    (port,) = ports.free_ports(1)
    log = folder / "up.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "up", "--port", str(port)),
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    ended = asyncio.create_task(process.wait())
    ready = asyncio.create_task(until_ready(f"http://{LOOPBACK}:{port}"))
    try:
        await asyncio.wait([ended, ready], return_when=asyncio.FIRST_COMPLETED)
        assert not ended.done(), log.read_text()
        await ready
        running = folder / ".postroad" / "running.json"  # written after a self-check
        await eventually(running.exists, timeout_s=TIMEOUT_S)
        yield f"http://{LOOPBACK}:{port}"
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(ended, TIMEOUT_S) == INTERRUPTED, log.read_text()
    finally:
        ready.cancel()
        if process.returncode is None:
            process.terminate()
            await process.wait()


def test_what_is_left_of_a_service_that_somebody_took_back_is_not_copied(tmp_path: Path) -> None:
    cache = tmp_path / "checkout" / "orders_worker" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "handlers.pyc").touch()
    (cache.parents[1] / "README.md").touch()

    shutil.copytree(cache.parents[1], tmp_path / "copy", ignore=not_copied)

    assert [each.name for each in (tmp_path / "copy").iterdir()] == ["README.md"]


def test_it_takes_fewer_lines_of_python_than_it_says() -> None:
    written = [each for each in SNIPPETS if each.kind == "python" and "tests/" not in each.path]
    lines = sum(len(snippet.text.splitlines()) for snippet in written)

    assert f"takes {lines} lines of Python" in GUIDE
    assert lines < MANY_LINES


def test_what_it_shows_passes_the_checks(copy: Path) -> None:
    shown = [each.path for each in SNIPPETS if each.path.endswith(".py")]

    for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        checked = subprocess.run(
            [sys.executable, "-m", *check, *shown],
            cwd=copy,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout


async def test_both_run_and_no_existing_file_has_changed(copy: Path) -> None:
    """The guide's commands print what it shows; the written service answers, tells and works."""

    async def check(command: Command) -> None:
        output = await asyncio.to_thread(run, command, copy)
        assert command.matches(output), f"{command.line}\n{output}"

    async def says(line: str) -> str:
        return await asyncio.to_thread(run, Command(line, ""), copy)

    git(copy, "init", "--quiet")
    git(copy, "add", "--all", ".", ":!orders_worker", ":!tests/unit/test_orders.py")
    for command in COMMANDS[1:UP]:
        await check(command)
    written = await says(NEW)
    assert "wrote shipments_worker/service.toml\n" in written
    tested = await says("make test ARGS='-q tests/unit/shipments_worker'")
    assert "3 passed" in tested, tested
    for check_line in CHECKS:
        checked = await says(check_line)
        assert checked.splitlines(keepends=True)[-1] == "0\n", checked
    async with running(copy) as url:
        for command in COMMANDS[UP + 1 :]:
            await check(command)
        with requests.Session() as session:
            assert session.post(f"{url}/auth", json=SIGN_IN, timeout=10).status_code == 200
            made = session.post(f"{url}/shipments", json={"name": "books"}, timeout=10)
            assert (made.status_code, made.json()["name"]) == (200, "books"), made.text
            path = f"{url}/shipments/{made.json()['shipment_id']}"

            async def is_printed() -> bool:
                found = await asyncio.to_thread(session.get, path, timeout=10)
                return bool(found.json()["status"] == "print")

            await eventually(is_printed, timeout_s=TIMEOUT_S)
            missing = session.get(f"{url}/shipments/none", timeout=10)
            assert (missing.status_code, missing.json()["code"]) == (404, "shipment_not_found")
            assert "/shipments" in session.get(f"{url}/", timeout=10).json()["links"].values()
            assert "/shipments/{shipment_id}" in session.get(f"{url}/openapi.json").json()["paths"]
        called = await says(".venv/bin/postroad call shipments.shipments.get shipment_id=none")
        assert called == "postroad: shipment_not_found: none does not exist\n"
    assert git(copy, "diff", "--name-only") == ""
