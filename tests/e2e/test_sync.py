"""The stored catalogue: renewed over HTTP or by command, and shown while upstream is away."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ops.terminal.interrupts import INTERRUPTED
from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.spy import Spy, spying
from tests.e2e.system import System, running_system
from tests.e2e.test_failures import is_refused
from tests.e2e.test_http import assert_problem

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TIMEOUT_S = 60.0  # a first worker takes up to 10, on a machine without other work
PAGES = 12


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system of these tests' own: others expect that nothing is stored."""
    folder = tmp_path_factory.mktemp("system")
    async with running_system(folder, CATALOG_SYNC_PAGE_SIZE="10") as system:
        system.add_user("reader", "reader's password")
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def user(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who may renew the catalogue."""
    async with signed_in(system, **CREDENTIALS) as http:
        yield http


def signed_in(system: System, username: str, password: str) -> httpx.AsyncClient:
    given = {"username": username, "password": password}
    token = httpx.post(f"{system.url}/auth", json=given).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=system.url, timeout=10, headers=headers)


async def sync(http: httpx.AsyncClient) -> dict[str, Any]:
    """Start a sync, and give what came of it."""
    started = await http.post("/products/sync")
    assert started.status_code == 202, started.text
    location = started.headers["location"]

    async def is_over() -> bool:
        status = (await http.get(location)).json()["data"]["status"]
        return status not in ("requested", "running")

    await eventually(is_over, timeout_s=TIMEOUT_S)
    over: dict[str, Any] = (await http.get(location)).json()["data"]
    return over


async def events(spy: Spy, count: int) -> list[dict[str, Any]]:
    """Wait until so many events have been seen; give their names and bodies."""

    async def has_come() -> bool:
        return len(await spy.look()) >= count

    await eventually(has_come, timeout_s=TIMEOUT_S)
    return [{"name": seen.properties.type, **json.loads(seen.body)} for seen in spy.seen]


async def test_a_sync_runs_tells_what_changed_and_the_store_answers_for_upstream(
    system: System, user: httpx.AsyncClient
) -> None:
    async with spying(system, "events", "catalog.product.*") as spy:
        first = await sync(user)
        assert (first["status"], first["pages"], first["pages_done"]) == ("done", PAGES, PAGES)
        assert (first["products"], first["added"]) == (120, 120)
        assert len(await events(spy, 120)) == 120

        second = await sync(user)
        assert second["sync_id"] != first["sync_id"]
        assert (second["added"], second["price_changed"], second["removed"]) == (0, 0, 0)

        await system.change_products(prices={"7": 0.5}, removed=[3])
        third = await sync(user)
        assert (third["products"], third["price_changed"], third["removed"]) == (119, 1, 1)
        seen = await events(spy, 122)
        assert len(seen) == 122  # the second sync told nothing
        assert [(each["name"], each["product_id"]) for each in seen[120:]] == [
            ("catalog.product.price_changed", 7),
            ("catalog.product.removed", 3),
        ]
        assert seen[120]["new_price"] == 0.5

    online = (await user.get("/products?limit=4&sort_by=price")).json()
    system.supervisor.scale("upstream", 0)
    try:
        await eventually(lambda: is_refused(system.upstream_port))
        listed = await user.get("/products?limit=4&sort_by=price")
        product = await user.get("/products/7")
        categories = await user.get("/products/categories")
        unknown = await user.get("/products/3")
    finally:
        system.supervisor.scale("upstream", 1)

    assert listed.json() == online
    assert product.json()["data"]["price"] == 0.5
    assert len(categories.json()["data"]) > 3
    for response in (listed, product, categories):
        assert response.status_code == 200
        assert response.headers["warning"].startswith("110 ")
        assert int(response.headers["age"]) >= 0
    assert_problem(unknown, 502, "upstream_failed")


async def test_the_command_follows_a_sync_to_its_end(system: System) -> None:
    await upstream_is_back(system)
    status, output, errors = await command(system)

    assert (status, errors) == (0, "")
    assert re.search(r"^\d+ products: \d+ added, .+ removed, [\d.]+ s$", output, re.MULTILINE)


async def test_the_command_leaves_a_sync_running_when_it_is_interrupted(
    system: System, user: httpx.AsyncClient
) -> None:
    system.supervisor.scale("catalog_sync", 0)
    await eventually(lambda: system.consumers("work.catalog.sync") == 0, timeout_s=TIMEOUT_S)
    process = await start_command(system)
    assert process.stdout is not None
    waiting = b""
    while b"not begun" not in waiting:
        waiting = await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    status, started, _ = await command(system, "--no-wait")
    system.supervisor.scale("catalog_sync", 1)

    assert b"the sync goes on without us" in errors
    assert process.returncode == INTERRUPTED
    assert status == 0
    [sync_id] = re.findall(r"^started ([0-9a-f-]+);", started)

    async def is_done() -> bool:
        answer = await user.get(f"/products/sync/{sync_id}")
        return bool(answer.json()["data"]["status"] == "done")

    await eventually(is_done, timeout_s=TIMEOUT_S)


async def test_who_may_only_read_starts_no_sync(system: System) -> None:
    async with signed_in(system, "reader", "reader's password") as http:
        assert_problem(await http.post("/products/sync"), 403, "not_authorised")
        assert_problem(await http.get("/products/sync/0"), 403, "not_authorised")


async def test_without_a_token_nothing_is_started(system: System) -> None:
    async with httpx.AsyncClient(base_url=system.url) as http:
        assert_problem(await http.post("/products/sync"), 401, "not_authenticated")
        assert_problem(await http.get("/products/sync/0"), 401, "not_authenticated")


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://else"}],
)
async def test_another_sites_page_starts_no_sync_with_our_cookie(
    system: System, user: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    token = user.headers["Authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(base_url=system.url, cookies={"token": token}) as browser:
        refused = await browser.post("/products/sync", headers=headers)
        own = await browser.post("/products/sync", headers={"Sec-Fetch-Site": "same-origin"})
    with_token = await user.post("/products/sync", headers=headers)

    assert_problem(refused, 403, "cross_site")
    assert own.status_code == 202
    assert with_token.status_code == 202  # no page has this without being given it


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/products/sync/00000000-0000-7000-8000-000000000000", 404, "sync_not_found"),
        ("/products/sync/%00", 404, "sync_not_found"),
        ("/products/sync/" + 65 * "0", 400, "invalid_request"),
        ("/products/sync", 405, "method_not_allowed"),
        ("/products/sync/0/1", 404, "not_found"),
    ],
)
async def test_what_is_no_sync_is_said_to_be_none(
    user: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    assert_problem(await user.get(path), status, code)


async def upstream_is_back(system: System) -> None:
    async def is_back() -> bool:
        try:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"{system.upstream_url}/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(is_back, timeout_s=TIMEOUT_S)


async def start_command(system: System, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "sync", *arguments),
        *("--state", str(system.state.folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


async def command(system: System, *arguments: str) -> tuple[int | None, str, str]:
    """Run `postroad sync`; give its status and what it prints."""
    process = await start_command(system, *arguments)
    output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    said = errors.decode().replace("postroad: made the service operator, to act as\n", "")
    return process.returncode, output.decode(), said
