"""`postroad up --reload` in a copy of the repository whose code changes, under a light load."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ops.local.ports import LOOPBACK, free_ports
from ops.terminal.interrupts import INTERRUPTED
from postroad.testing import eventually
from tests.e2e.test_adding_a_service import SNIPPETS, apply, environment, not_copied
from tests.safeguards.listed import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

TIMEOUT_S = 90.0
PAUSE_S = 0.05  # between two requests
PRODUCT = "Dated(found.value, found.as_of, found.is_stale)"
SIGN_IN = {"username": "admin", "password": "admin"}


class Copy:
    """A copy of the repository, and the system that runs from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (port,) = free_ports(1)
        self.port = port
        self.http = httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=TIMEOUT_S)
        self._log = folder / "up.log"

    def change(self, file: str, before: str, after: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, after))

    def log(self) -> str:
        return self._log.read_text()

    async def logged(self, text: str, *, times: int = 1) -> None:
        async def is_there() -> bool:
            return self.log().count(text) >= times

        await eventually(is_there, timeout_s=TIMEOUT_S)

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", *arguments),
            cwd=self.folder,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with self._log.open("wb") as output:
            up = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ops.cli", "up", "--reload", "--port", str(self.port)),
                cwd=self.folder,
                env=environment(self.folder) | {"NO_COLOR": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            await self.logged("Postroad is up")
            signed_in = await self.http.post("/auth", json=SIGN_IN)
            token = signed_in.json()["access_token"]
            self.http.headers["Authorization"] = f"Bearer {token}"
            yield
        finally:
            up.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(up.wait(), TIMEOUT_S) == INTERRUPTED, self.log()
            await self.http.aclose()

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Counter[int]]:
        """Ask for products all the while; yield the statuses, counted."""
        statuses: Counter[int] = Counter()

        async def ask() -> None:
            while True:
                with suppress(httpx.RemoteProtocolError):  # it was idle, and closed at this moment
                    statuses[(await self.http.get("/products?limit=1")).status_code] += 1
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(ask()) for _ in range(4)]
            yield statuses
            for task in asking:
                task.cancel()

    async def product(self) -> dict[str, Any]:
        response = await self.http.get("/products/1")
        assert response.status_code == 200, response.text
        product: dict[str, Any] = response.json()["data"]
        return product


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def copy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Copy]:
    folder = tmp_path_factory.mktemp("reload") / "postroad"
    shutil.copytree(ROOT, folder, ignore=not_copied)
    copy = Copy(folder)
    async with copy.running():
        yield copy
    shutil.rmtree(folder)


async def test_a_change_of_a_worker_fails_no_request(copy: Copy) -> None:
    changed = 'Dated(found.value.model_copy(update={"title": "New"}), found.as_of, False)'

    async with copy.asked() as statuses:
        copy.change("catalog_worker/handlers.py", PRODUCT, changed)
        await copy.logged("changed=catalog_worker/handlers.py")
        product = await copy.product()

    assert product["title"] == "New"
    assert statuses.keys() == {200}


async def test_a_change_of_the_bridge_fails_no_request(copy: Copy) -> None:
    async def is_new() -> bool:
        health: dict[str, str] = (await copy.http.get("/healthz")).json()
        return health == {"status": "fine"}

    async with copy.asked() as statuses:
        copy.change("http_bridge/routes/health.py", '{"status":"ok"}', '{"status":"fine"}')
        await copy.logged("changed=http_bridge/routes/health.py")
        await eventually(is_new, timeout_s=TIMEOUT_S)

    assert statuses.keys() == {200}


async def test_code_that_does_not_start_leaves_the_old_running(copy: Copy) -> None:
    copy.change("catalog_worker/wiring.py", "def build_handlers(", "def build_handlers((")
    await copy.logged("new code does not start; the old goes on program=catalog_worker")
    product = await copy.product()
    copy.change("catalog_worker/wiring.py", "def build_handlers((", "def build_handlers(")
    await copy.logged("changed=catalog_worker/wiring.py")

    assert product["id"] == 1
    traceback, _, error = copy.log().partition("SyntaxError: ")
    assert traceback.rstrip().endswith("^")
    assert 'reason="exit status 1: SyntaxError: ' in error


async def test_a_program_is_restarted_from_another_terminal(copy: Copy) -> None:
    async with copy.asked() as statuses:
        restart = await copy.command("restart", "catalog_worker")
        said, _ = await restart.communicate()

    assert said.startswith(b"catalog_worker was started anew in ")
    assert restart.returncode == 0
    assert statuses.keys() == {200}


async def test_an_unknown_program_is_answered_with_those_there_are(copy: Copy) -> None:
    restart = await copy.command("restart", "nobody")
    said, _ = await restart.communicate()

    assert said == (
        b"postroad: there is no program nobody; there are upstream, auth_worker, auth_audit, "
        b"catalog_worker, catalog_sync, http_bridge\n"
    )
    assert restart.returncode == 1


async def test_without_a_running_system_it_is_one_sentence(copy: Copy, tmp_path: Path) -> None:
    restart = await copy.command("restart", "catalog_worker", "--state", str(tmp_path))
    said, _ = await restart.communicate()

    assert said.startswith(b"postroad: nothing runs on ")
    assert restart.returncode == 1


async def test_a_service_whose_folder_appears_is_started_and_reached(copy: Copy) -> None:
    async def is_served() -> bool:
        response = await copy.http.post("/orders", json={"product_id": 7, "quantity": 2})
        return response.status_code == 200 and "order_id" in response.json()

    wrong = 'contract = "orders.orders.palce"'
    before = await copy.http.post("/orders", json={})
    async with copy.asked() as statuses:
        (copy.folder / "orders_worker").mkdir()
        (copy.folder / "orders_worker" / "__init__.py").touch()
        for snippet in SNIPPETS:
            if snippet.path.startswith("orders_worker/"):
                apply(snippet, copy.folder)
        copy.change("orders_worker/service.toml", 'contract = "orders.orders.place"', wrong)
        await copy.logged("there is no contract orders.orders.palce")
        copy.change("orders_worker/service.toml", wrong, 'contract = "orders.orders.place"')
        await copy.logged("started=orders_worker")
        await eventually(is_served, timeout_s=TIMEOUT_S)

    assert before.status_code == 404
    assert statuses.keys() == {200}
