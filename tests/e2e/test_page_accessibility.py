"""The page at `/` for everybody, in a real browser: on a phone, in the dark, by keyboard alone."""

import os
import shutil
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import (
    DESKTOP,
    NEEDS_CHROMIUM,
    PHONE,
    barriers,
    focused,
    install_axe,
    is_wider_than_its_window,
    queue,
    sign_in,
    tab_to,
    titles,
    visiting,
)
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.signing_in import PASSWORD
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), NEEDS_CHROMIUM]

NARROWEST = 320  # WCAG 2.2, 1.4.10: to be read without scrolling sideways
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # the folder they go to, when they are asked for
LOOKS = {
    "light": (DESKTOP, "light"),
    "dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


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
async def test_axe_finds_no_barrier_on_the_page(
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
