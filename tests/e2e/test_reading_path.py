"""How much a reader has to open to follow one `GET /products` (docs/architecture.md)."""

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, running_system

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PROFILER = Path(__file__).parent / "reading_path"
PRODUCT = ("shared/postroad/", "http_bridge/", "catalog_worker/")
OBSERVABILITY = (
    "shared/postroad/observability/",
    *(f"http_bridge/http/{name}.py" for name in ("metrics", "server_timing", "tracing")),
)
BROKER = "shared/postroad/broker/"  # how bytes come from the queue and go to the exchange
MODULES_MAX, LINES_MAX = 22, 2_800  # from HTTP to the reply
WORKER_MODULES_MAX, WORKER_LINES_MAX = 9, 1_200  # from the queue to the reply
REQUESTS = 5  # what runs for only some of them, such as a timer, is not on the path


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("system")
    settings = {"PYTHONPATH": str(PROFILER), "READING_PATH_FOLDER": str(folder)}
    async with running_system(folder, CATALOG_CACHE_FRESH_S="600", **settings) as system:
        yield system


async def run_in(system: System, program: str, http: httpx.AsyncClient) -> dict[str, int]:
    """Return the modules of the product that run in a program for one request, with their lines."""
    (pid,) = system.supervisor.pids(program)
    result = system.state.folder / f"{pid}.json"
    begun = result.with_suffix(".begun")
    runs = []
    for _ in range(REQUESTS):
        os.kill(pid, signal.SIGUSR2)
        await eventually(begun.exists)
        begun.unlink()
        assert (await http.get("/products")).status_code == 200
        os.kill(pid, signal.SIGUSR2)
        await eventually(result.exists)
        runs.append(set(json.loads(result.read_text())))
        result.unlink()
    names = (name.removeprefix(f"{ROOT}/") for name in set.intersection(*runs))
    ours = (name for name in names if name.startswith(PRODUCT))
    return {
        name: len((ROOT / name).read_text().splitlines())
        for name in sorted(ours)
        if not name.startswith(OBSERVABILITY)
    }


def table(modules: dict[str, int]) -> str:
    rows = [f"{lines:6} {name}" for name, lines in modules.items()]
    return "\n".join([f"{len(modules)} modules, {sum(modules.values())} lines", *rows])


@pytest.mark.asyncio(loop_scope="session")
async def test_a_request_is_followed_through_few_modules(traced: System) -> None:
    async with httpx.AsyncClient(base_url=traced.url, timeout=10) as http:
        token = (await http.post("/auth", json=CREDENTIALS)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        for _ in range(REQUESTS):
            await http.get("/products")
        bridge = await run_in(traced, "http_bridge", http)
        worker = await run_in(traced, "catalog_worker", http)

    whole = bridge | worker
    worker = {name: lines for name, lines in worker.items() if not name.startswith(BROKER)}
    assert "http_bridge/app.py" in bridge
    assert "catalog_worker/handlers.py" in worker
    assert len(worker) <= WORKER_MODULES_MAX, table(worker)
    assert sum(worker.values()) <= WORKER_LINES_MAX, table(worker)
    assert len(whole) <= MODULES_MAX, table(whole)
    assert sum(whole.values()) <= LINES_MAX, table(whole)
