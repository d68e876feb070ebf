"""Operations on the page at `/`, in a real browser: what goes is missed, what returns is seen."""

import asyncio
from time import monotonic

import httpx
import pytest
from playwright.async_api import Page, expect

from ops.local.ports import LOOPBACK
from ops.services import programs
from postroad.ids import new_id
from postroad.testing import eventually
from tests.e2e.browser import NEEDS_CHROMIUM, queue, sign_in, titles
from tests.e2e.signing_in import PASSWORD
from tests.e2e.system import System, until_ready

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), NEEDS_CHROMIUM]

SEEN_WITHIN_S = 10.0  # the bridge looks each second, the machine is busy
BACK_WITHIN_MS = 30_000
STOPPED_WITHIN_S = 5.0  # the bridge would wait three times as long for requests under way


async def test_a_worker_that_is_killed_is_missed_within_seconds(
    signed_in: Page, system: System
) -> None:
    await expect(signed_in.locator(queue(signed_in, "rpc.catalog", replicas=1))).to_be_visible()
    worker = await second_catalogue_worker(system)
    try:
        two = signed_in.locator(queue(signed_in, "rpc.catalog", replicas=2))
        await expect(two).to_be_visible(timeout=20_000)

        worker.kill()
        killed_at = monotonic()

        one = signed_in.locator(queue(signed_in, "rpc.catalog", replicas=1))
        await expect(one).to_be_visible(timeout=SEEN_WITHIN_S * 1000)
        assert monotonic() - killed_at < SEEN_WITHIN_S
        await expect(signed_in.locator("#announcer")).to_have_text("rpc.catalog: 1 replicas")
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


async def second_catalogue_worker(system: System) -> asyncio.subprocess.Process:
    """Start one that nobody starts again when it dies."""
    (program,) = (
        each
        for each in programs.programs(
            system.state,
            broker_address=system.broker.address,
            upstream=system.upstream_url,
            host=LOOPBACK,
            port=system.port,
        )
        if each.name == "catalog_worker"
    )
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *program.argv, env=dict(program.env), stdout=quiet, stderr=quiet
    )


async def test_an_open_page_shows_a_killed_broker_away_and_then_back(
    signed_in: Page, system: System
) -> None:
    broker = signed_in.locator("#broker")
    await expect(broker).to_have_text("connected")
    system.broker.kill()
    try:
        await expect(broker).to_have_text("broker away")
        await signed_in.get_by_role("button", name="Next").click()
        problem = signed_in.locator("#catalogue-problem")
        await expect(problem).to_contain_text("unavailable")
        await expect(problem).to_contain_text("the message broker is away")
    finally:
        await system.broker.start()
        await until_ready(system.url)
    await expect(broker).to_have_text("connected", timeout=BACK_WITHIN_MS)

    await signed_in.get_by_role("button", name="Try again").click()

    await expect(signed_in.get_by_text("13 to 24 of 120", exact=True)).to_be_visible()


async def test_an_event_shows_up_with_its_subject_and_nothing_more(
    signed_in: Page, system: System
) -> None:
    await expect(signed_in.locator("#broker")).to_have_text("connected")

    async with httpx.AsyncClient(base_url=system.url) as http:
        wrong = {"username": f"nobody-{new_id()}", "password": "wrong"}
        assert (await http.post("/auth", json=wrong)).status_code == 401

    row = signed_in.locator("#events li").first
    await expect(row.locator("code")).to_have_text("auth.login.failed")
    assert "127.0.0" not in await row.inner_text()


async def test_a_user_without_the_scope_sees_no_operations_and_gets_none(
    page: Page, system: System
) -> None:
    name = f"rosa-{new_id()[-6:]}"
    system.add_user(name, PASSWORD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await sign_in(page, name, PASSWORD)
    await titles(page)

    await expect(page.locator("#operations")).to_be_hidden()
    await expect(page.locator("#sync")).to_be_hidden()
    await expect(page.locator("#journey")).to_be_visible()
    assert not any(url.endswith("/live") for url in asked)
    refused = await page.request.get("/live")
    assert (refused.status, (await refused.json())["code"]) == (403, "not_authorised")


async def test_live_data_is_401_without_a_token(visitor: httpx.AsyncClient) -> None:
    response = await visitor.get("/live")

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


async def test_a_stopping_bridge_ends_its_streams_and_the_page_reconnects(
    signed_in: Page, system: System
) -> None:
    await expect(signed_in.locator("#broker")).to_have_text("connected")
    began = monotonic()
    system.supervisor.scale("http_bridge", 0)
    try:
        await eventually(lambda: not system.supervisor.draining("http_bridge"), timeout_s=10)
        took_s = monotonic() - began
        await expect(signed_in.locator("#broker")).to_have_text("no news from the bridge")
    finally:
        system.supervisor.scale("http_bridge", 1)
        await until_ready(system.url)

    await expect(signed_in.locator("#broker")).to_have_text("connected", timeout=BACK_WITHIN_MS)
    assert took_s < STOPPED_WITHIN_S
