"""The page at `/` in a real browser, against the whole running system."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from ops import services
from ops.ports import LOOPBACK
from shared.contracts.catalog import Product
from shared.messaging.ids import new_id
from tests.e2e.browser import (
    CHROMIUM,
    DESKTOP,
    PHONE,
    barriers,
    focused,
    install_axe,
    is_wider_than_its_window,
    running_browser,
    sign_in,
    tab_to,
    titles,
    visiting,
)
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, until_ready
from tests.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, or its path in CHROMIUM"),
]

PASSWORD = "a password for the tests"
NARROWEST = 320  # WCAG 2.2, 1.4.10: to be read without scrolling sideways
SEEN_WITHIN_S = 3.0
BACK_WITHIN_MS = 30_000
STOPPED_WITHIN_S = 5.0  # the bridge would wait three times as long for requests under way
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # the folder they go to, when they are asked for
LOOKS = {
    "light": (DESKTOP, "light"),
    "dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
def operator(system: System) -> str:
    name = f"olivia-{new_id()[-6:]}"
    system.add_user(name, PASSWORD, roles=("operator",))
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, system: System) -> AsyncIterator[Page]:
    async with visiting(browser, system.url) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def signed_in(page: Page, operator: str) -> Page:
    await sign_in(page, operator, PASSWORD)
    return page


def queue(page: Page, name: str, **state: int) -> str:
    """Select a queue's row, in a state if one is given."""
    wanted = "".join(f'[data-{key}="{value}"]' for key, value in state.items())
    return f'[id="queue {name}"]{wanted}'


# signing in and out


async def test_a_visitor_is_asked_to_sign_in_and_sees_nothing_else(page: Page) -> None:
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    await expect(page.locator("#signed-in")).to_be_hidden()
    for name, path in (
        ("HTTP API", "/docs"),
        ("Messages", "/docs/messages"),
        ("Health", "/readyz"),
    ):
        link = page.get_by_role("link", name=name)
        assert await link.get_attribute("href") == path


async def test_a_wrong_password_is_said_and_the_next_try_may_be_right(
    page: Page, operator: str
) -> None:
    await page.get_by_label("User name").fill(operator)
    await page.get_by_label("Password").fill("wrong")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("alert")).to_have_text("User name or password is wrong.")
    assert (await focused(page))["id"] == "password"
    await sign_in(page, operator, PASSWORD)
    await expect(page.get_by_text(f"Signed in as {operator}").first).to_be_attached()


async def test_a_reload_keeps_who_is_signed_in_and_where(signed_in: Page, operator: str) -> None:
    await signed_in.get_by_role("button", name="Next").click()
    await expect(signed_in.get_by_text("13 to 24 of 120", exact=True)).to_be_visible()

    await signed_in.reload()

    await expect(signed_in.get_by_text("13 to 24 of 120", exact=True)).to_be_visible()
    await expect(signed_in.locator("#username")).to_have_text(operator)


async def test_an_access_token_that_is_over_is_renewed_by_one_of_two_tabs(signed_in: Page) -> None:
    other = await signed_in.context.new_page()
    await other.goto("/")
    await expect(other.locator(".product").first).to_be_visible()

    await signed_in.context.clear_cookies(name="token")
    await asyncio.gather(signed_in.reload(), other.reload())

    for tab in (signed_in, other):
        await expect(tab.locator(".product").first).to_be_visible()
    await signed_in.context.clear_cookies(name="token")
    await signed_in.get_by_role("button", name="Next").click()
    await expect(signed_in.get_by_text("13 to 24 of 120", exact=True)).to_be_visible()


async def test_signing_out_takes_everything_away(signed_in: Page) -> None:
    await expect(signed_in.locator(queue(signed_in, "rpc.auth"))).to_be_visible()

    await signed_in.get_by_role("button", name="Sign out").click()

    await expect(signed_in.locator("#welcome")).to_be_visible()
    assert await signed_in.locator(".product, #queues tr, #events li").count() == 0
    assert (await focused(signed_in))["id"] == "name"
    await signed_in.reload()
    await expect(signed_in.locator("#welcome")).to_be_visible()


async def test_a_session_that_ends_elsewhere_is_noticed(signed_in: Page) -> None:
    await expect(signed_in.locator(queue(signed_in, "rpc.auth"))).to_be_visible()
    cookies = {each["name"]: each["value"] for each in await signed_in.context.cookies()}

    async with httpx.AsyncClient(base_url=signed_in.url) as elsewhere:
        bearer = {"Authorization": f"Bearer {cookies['token']}"}
        assert (await elsewhere.post("/auth/logout", headers=bearer)).status_code == 200

    await expect(signed_in.get_by_role("alert")).to_have_text(
        "Your session has ended. Sign in again.", timeout=15_000
    )


# the catalogue


async def test_a_search_finds_products_while_one_types(signed_in: Page) -> None:
    await signed_in.get_by_label("Search").press_sequentially("river")

    await expect(signed_in.locator("#range")).not_to_have_text("1 to 12 of 120")
    assert "A Field Guide to Small Rivers" in await titles(signed_in)


async def test_a_search_that_finds_nothing_says_so(signed_in: Page) -> None:
    await signed_in.get_by_label("Search").fill("no such thing anywhere")

    await expect(signed_in.locator("#range")).to_have_text("Nothing found")
    await expect(signed_in.locator("#announcer")).to_have_text("Nothing found")
    assert await titles(signed_in) == []


async def test_a_category_and_an_order_are_kept_in_the_address(signed_in: Page) -> None:
    await signed_in.get_by_label("Category").select_option("Books")
    await expect(signed_in.locator(".product .kind").first).to_contain_text("books")
    await signed_in.get_by_label("Order").select_option("Price, lowest first")
    await expect(signed_in).to_have_url(re.compile("sort=price.asc"))
    await titles(signed_in)

    shown = await signed_in.locator(".product .price").all_inner_texts()
    kinds = await signed_in.locator(".product .kind").all_inner_texts()

    assert "category=books" in signed_in.url
    assert shown == sorted(shown, key=float)
    assert all(kind.endswith("books") for kind in kinds)
    await signed_in.go_back()
    await signed_in.go_back()
    await expect(signed_in.get_by_text("1 to 12 of 120", exact=True)).to_be_visible()


async def test_pages_are_turned_to_the_last_one_and_back(signed_in: Page) -> None:
    first = await titles(signed_in)
    following, previous = (
        signed_in.get_by_role("button", name=name) for name in ("Next", "Previous")
    )
    await expect(previous).to_be_disabled()

    for page_number in range(2, 11):
        await following.click()
        await expect(signed_in.get_by_text(f"Page {page_number} of 10")).to_be_visible()

    await expect(signed_in.get_by_text("109 to 120 of 120", exact=True)).to_be_visible()
    await expect(following).to_be_disabled()
    await signed_in.goto("/")
    assert await titles(signed_in) == first


async def test_a_product_is_shown_by_itself_with_a_picture_drawn_here(signed_in: Page) -> None:
    await signed_in.get_by_role("button", name="Rosehip Night Oil").click()

    dialog = signed_in.get_by_role("dialog", name="Rosehip Night Oil")
    await expect(dialog).to_contain_text("24.00")
    assert await signed_in.locator("img").count() == 0
    assert await signed_in.locator(".product svg.picture").count() == 12
    await signed_in.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()


async def test_text_of_a_product_is_never_read_as_html(signed_in: Page) -> None:
    title = "<img src=x onerror=alert(1)>"
    product = {**dict.fromkeys(Product.model_fields), "id": 1, "title": title, "price": 1.0}
    hostile = {"data": [product], "total": 1, "skip": 0, "limit": 1}
    await signed_in.route("**/products?*", lambda route: route.fulfill(json=hostile))

    await signed_in.reload()

    await expect(signed_in.get_by_role("button", name=title)).to_be_visible()
    assert await signed_in.locator("img").count() == 0


# the way of a request


async def test_the_way_of_the_last_request_is_as_measured(signed_in: Page) -> None:
    await titles(signed_in)
    async with signed_in.expect_response("**/products?*") as answer:
        await signed_in.get_by_role("button", name="Next").click()
    header = (await (await answer.value).all_headers())["server-timing"]
    times = dict(part.split(";dur=") for part in header.split(", "))
    await expect(signed_in.locator("#journey-request")).to_contain_text("skip=12")

    shown = {
        place: await signed_in.locator(f"#road .{place} .time").inner_text()
        for place in ("edge", "queue", "worker", "upstream", "reply")
    }

    own = float(times["worker"]) - float(times["upstream"])
    assert float(shown["edge"].removesuffix(" ms")) == pytest.approx(float(times["edge"]), rel=0.05)
    assert float(shown["queue"].removesuffix(" ms")) == pytest.approx(
        float(times["queue"]), rel=0.05
    )
    assert float(shown["worker"].removesuffix(" ms")) == pytest.approx(own, rel=0.05, abs=0.01)
    assert float(shown["upstream"].removesuffix(" ms")) == pytest.approx(
        float(times["upstream"]), rel=0.05
    )
    assert float(shown["reply"].removesuffix(" ms")) == pytest.approx(
        float(times["reply"]), rel=0.05
    )


async def test_what_was_not_measured_is_said_to_be_so(signed_in: Page) -> None:
    async def without_times(route: Route) -> None:
        response = await route.fetch()
        headers = {key: value for key, value in response.headers.items() if key != "server-timing"}
        await route.fulfill(response=response, headers=headers)

    await titles(signed_in)
    await signed_in.route("**/products?*", without_times)

    await signed_in.get_by_role("button", name="Next").click()

    await expect(signed_in.locator("#road .queue .time")).to_have_text("not measured")
    await expect(signed_in.locator("#journey-bar")).to_be_hidden()


# operations


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
        for each in services.programs(
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


async def test_a_broker_that_is_killed_is_away_and_then_back_while_the_page_is_open(
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


async def test_a_bridge_that_is_to_stop_does_not_wait_for_streams_and_the_page_comes_back(
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


# for everybody


@pytest.mark.parametrize("width", [PHONE[0], NARROWEST])
async def test_nothing_is_wider_than_a_phone(
    browser: Browser, system: System, operator: str, width: int
) -> None:
    async with visiting(browser, system.url, size=(width, PHONE[1])) as page:
        await expect(page.locator("#welcome")).to_be_visible()
        assert not await is_wider_than_its_window(page)

        await sign_in(page, operator, PASSWORD)
        await expect(page.locator(queue(page, "rpc.auth"))).to_be_visible()

        assert not await is_wider_than_its_window(page)


async def test_the_page_is_dark_for_who_likes_it_so(browser: Browser, system: System) -> None:
    async def lightness(scheme: str) -> int:
        async with visiting(browser, system.url, color_scheme=scheme) as page:
            colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    dark, light = await lightness("dark"), await lightness("light")

    assert dark < 150
    assert light > 600


async def test_nothing_moves_for_who_likes_it_so(browser: Browser, system: System) -> None:
    async with visiting(browser, system.url, reduced_motion="reduce") as page:
        moving = await page.evaluate(
            """[...document.querySelectorAll("*")].filter((element) => {
                const { transitionDuration, animationName } = getComputedStyle(element);
                return transitionDuration !== "0s" || animationName !== "none";
            }).length"""
        )

    assert moving == 0


async def test_all_can_be_done_by_keyboard_alone(page: Page, operator: str) -> None:
    await expect(page.locator("#welcome")).to_be_visible()
    await tab_to(page, text="Skip to the content", within=1)
    await page.keyboard.press("Enter")
    await tab_to(page, id="name", within=2)
    await page.keyboard.type(operator)
    await tab_to(page, id="password", within=1)
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator(".product").first).to_be_visible()
    assert (await focused(page))["id"] == "catalogue-title"

    await tab_to(page, id="q", within=3)
    await page.keyboard.type("wool")
    await expect(page.locator("#range")).not_to_have_text("1 to 12 of 120")
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Delete")
    await expect(page.get_by_text("1 to 12 of 120", exact=True)).to_be_visible()
    await tab_to(page, text="Enamelled Casserole, 4.5 L", within=4)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    assert (await focused(page))["text"] == "Enamelled Casserole, 4.5 L"
    await tab_to(page, id="next", within=14)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("13 to 24 of 120", exact=True)).to_be_visible()
    assert (await focused(page))["id"] == "catalogue-title"

    await tab_to(page, id="sign-out")
    await page.keyboard.press("Enter")
    await expect(page.locator("#welcome")).to_be_visible()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("npm"):
        pytest.skip("needs npm")
    return install_axe(tmp_path_factory.mktemp("axe") / "axe")


@pytest.mark.parametrize("look", LOOKS)
async def test_no_barrier_is_found(
    browser: Browser, system: System, operator: str, axe: str, look: str
) -> None:
    size, scheme = LOOKS[look]
    async with visiting(
        browser,
        system.url,
        size=size,
        color_scheme=scheme,
        reduced_motion="reduce",
        bypass_csp=True,
    ) as page:
        await expect(page.locator("#welcome")).to_be_visible()
        found = await barriers(page, axe)
        await sign_in(page, **CREDENTIALS)
        await expect(page.locator(queue(page, "rpc.auth"))).to_be_visible()
        await make_events(page, operator)
        await titles(page)
        found += await barriers(page, axe)
        if SCREENSHOTS and look in ("light", "dark"):
            await page.screenshot(path=Path(SCREENSHOTS) / f"page-{look}.png")
        await page.locator(".product button").first.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        found += await barriers(page, axe)

    assert found == []


async def make_events(page: Page, username: str) -> None:
    """Sign a user in elsewhere, at the second attempt, and see it."""
    await expect(page.locator("#broker")).to_have_text("connected")
    async with httpx.AsyncClient(base_url=page.url) as http:
        for password in ("wrong", PASSWORD):
            await http.post("/auth", json={"username": username, "password": password})
    await expect(page.locator("#events li").nth(1)).to_be_visible()
