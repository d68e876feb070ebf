"""Which programs a change belongs to, and what becomes of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ops.local.worker import NotStarted
from ops.services.code import UPSTREAM, concerned, folders, http_programs
from ops.services.manifests import ROOT, program_names
from ops.services.reloading import Reloader
from postroad.topology.services import ServicesFileError

HANDLERS = ROOT / "catalog_worker" / "handlers.py"
PROGRAMS = list(program_names())


@pytest.mark.parametrize(
    ("file", "programs"),
    [
        ("catalog_worker/sync/handlers.py", ["catalog_worker", "catalog_sync"]),
        ("catalog_worker/service.toml", ["catalog_worker", "catalog_sync", "http_bridge"]),
        ("auth_worker/settings.py", ["auth_worker", "auth_audit"]),
        ("http_bridge/page/main.js", ["http_bridge"]),
        ("sample_api/server.py", [UPSTREAM]),
        ("shared/postroad/settings.py", PROGRAMS),
        ("shared/postroad/contracts/catalog.py", PROGRAMS),
        ("ops/commands/up.py", []),
        ("catalog_worker_2/handlers.py", []),
    ],
)
def test_a_change_belongs_to_the_programs_of_its_package(file: str, programs: list[str]) -> None:
    assert concerned([ROOT / file]) == programs


def test_several_files_belong_to_the_programs_of_each() -> None:
    files = [ROOT / "http_bridge" / "app.py", ROOT / "auth_worker" / "users.py"]

    assert concerned(files) == ["auth_worker", "auth_audit", "http_bridge"]


def test_every_folder_is_there_and_watched_once() -> None:
    assert all(folder.is_dir() for folder in folders())
    assert len(folders()) == len(set(folders()))
    assert http_programs() == {"http_bridge"}


class Supervisor:
    """Notes what is replaced; what is broken does not start, what is slow waits for it."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.given_up: list[str] = []

    async def replace(self, name: str) -> int:
        if name in self.slow:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.append(name)
        if name in self.broken:
            raise NotStarted("exit status 1: SyntaxError")
        self.replaced.append(name)
        return 1


class Reloading:
    """Files change when a test says so."""

    def __init__(self) -> None:
        self.supervisor = Supervisor()
        self.problem: ServicesFileError | None = None
        self.renewals = 0
        self._changes: asyncio.Queue[set[Path]] = asyncio.Queue()
        reloader = Reloader(self.supervisor, concerned=concerned, renew=self._renew)
        self._task = asyncio.create_task(reloader.run(self._follow()))

    async def _renew(self) -> list[str]:
        self.renewals += 1
        if self.problem:
            raise self.problem
        return ["catalog_sync"]

    async def change(self, *files: Path) -> None:
        self._changes.put_nowait(set(files))
        for _ in range(10):  # turns of the loop: nothing here waits for anything else
            await asyncio.sleep(0)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> AsyncIterator[set[Path]]:
        while True:
            yield await self._changes.get()


@pytest.fixture
async def reloading() -> AsyncIterator[Reloading]:
    reloading = Reloading()
    yield reloading
    await reloading.end()


async def test_a_change_is_one_line_that_names_programs_and_files(reloading: Reloading) -> None:
    with capture_logs() as lines:
        await reloading.change(HANDLERS)

    (line,) = lines
    assert line.pop("took_s") >= 0
    assert line == {
        "event": "reloaded",
        "log_level": "info",
        "programs": "catalog_worker, catalog_sync",
        "changed": "catalog_worker/handlers.py",
    }


async def test_many_files_are_counted(reloading: Reloading) -> None:
    with capture_logs() as lines:
        await reloading.change(*(HANDLERS.with_name(f"{n}.py") for n in range(5)))

    assert lines[0]["changed"] == (
        "catalog_worker/0.py, catalog_worker/1.py, catalog_worker/2.py and 2 more"
    )


async def test_what_does_not_start_is_tried_again_at_the_next_change(reloading: Reloading) -> None:
    reloading.supervisor.broken = {"catalog_sync"}
    with capture_logs() as lines:
        await reloading.change(HANDLERS)
    reloading.supervisor.broken.clear()
    await reloading.change(ROOT / "http_bridge" / "app.py")
    await reloading.change(ROOT / "http_bridge" / "app.py")

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("new code does not start; the old goes on", "error"),
        ("reloaded", "info"),
    ]
    assert lines[0]["reason"] == "exit status 1: SyntaxError"
    assert reloading.supervisor.replaced == [
        *("catalog_worker", "catalog_sync", "http_bridge", "http_bridge")
    ]


async def test_a_change_meanwhile_begins_anew(reloading: Reloading) -> None:
    reloading.supervisor.slow = {"catalog_worker"}
    await reloading.change(HANDLERS)
    reloading.supervisor.slow.clear()
    await reloading.change(ROOT / "http_bridge" / "app.py")

    assert reloading.supervisor.given_up == ["catalog_worker"]
    assert {"catalog_worker", "http_bridge"} <= set(reloading.supervisor.replaced)


async def test_a_changed_manifest_renews_services_first(reloading: Reloading) -> None:
    with capture_logs() as lines:
        await reloading.change(HANDLERS)
        await reloading.change(HANDLERS.with_name("service.toml"))

    assert reloading.renewals == 1
    assert reloading.supervisor.replaced[2:] == ["catalog_worker", "http_bridge"]
    assert lines[1]["started"] == "catalog_sync"


async def test_services_that_cannot_be_renewed_change_nothing_until_they_can(
    reloading: Reloading,
) -> None:
    reloading.problem = ServicesFileError("no contract orders.orders.place")
    with capture_logs() as lines:
        await reloading.change(HANDLERS.with_name("service.toml"))
    before = list(reloading.supervisor.replaced)
    reloading.problem = None
    await reloading.change(ROOT / "ops" / "cli.py")

    assert before == []
    assert lines == [
        {
            "event": "services stay as they were",
            "log_level": "error",
            "reason": "no contract orders.orders.place",
        }
    ]
    assert reloading.supervisor.replaced == ["catalog_worker", "http_bridge"]
