"""A real browser on the page: Debian's Chromium, driven by Playwright."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, or its path in CHROMIUM")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),  # root in a container has no sandbox
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DESKTOP, PHONE = (1360, 900), (390, 844)
INSTALL_TIMEOUT_S = 100.0
AXE = Path(__file__).parent / "axe"
PATIENCE_MS = 30_000  # with a page on a busy machine
_REFUSED = "Failed to load resource"  # an answer of 400 and more, as some tests want it


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, *, size: tuple[int, int] = DESKTOP, **options: Any
) -> AsyncIterator[Page]:
    """Open the page as a new visitor; what its scripts complain of fails the test."""
    viewport = ViewportSize(width=size[0], height=size[1])
    context = await browser.new_context(base_url=url, viewport=viewport, **options)
    context.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page = await context.new_page()
    await page.goto("/")
    yield page
    await context.close()
    assert [each for each in complaints if not each.startswith(_REFUSED)] == []


async def sign_in(page: Page, username: str, password: str) -> None:
    """Sign in, and wait for the catalogue."""
    await page.get_by_label("User name").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator(".product").first).to_be_visible()


async def titles(page: Page) -> list[str]:
    """Give the titles of the products that are shown."""
    await expect(page.locator("#products")).to_have_attribute("aria-busy", "false")
    return await page.locator(".product h2").all_inner_texts()


def queue(page: Page, name: str, **state: int) -> str:
    """Select a queue's row, in a state if one is given."""
    wanted = "".join(f'[data-{key}="{value}"]' for key, value in state.items())
    return f'[id="queue {name}"]{wanted}'


async def is_wider_than_its_window(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def install_axe(folder: Path) -> str:
    """Install axe-core from npm, as locked, and give its source."""
    shutil.copytree(AXE, folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def barriers(page: Page, axe: str) -> list[str]:
    """Name what axe finds serious or critical, and where."""
    await page.evaluate(axe)
    found = await page.evaluate("axe.run()")
    assert found["passes"], "axe looked at nothing"
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


async def focused(page: Page) -> dict[str, Any]:
    """Say what has the focus, and whether one sees that it does."""
    result: dict[str, Any] = await page.evaluate(
        """() => {
            const element = document.activeElement;
            const after = getComputedStyle(element, "::after");
            const style = getComputedStyle(element);
            return {
                id: element.id,
                tag: element.tagName,
                text: element.textContent.trim().slice(0, 60),
                isSeen: [style, after].some(({ outlineStyle }) => outlineStyle !== "none"),
            };
        }"""
    )
    return result


async def tab_to(page: Page, *, within: int = 40, **wanted: str) -> dict[str, Any]:
    """Press Tab until something is focused, which has to be visible on each stop."""
    for _ in range(within):
        await page.keyboard.press("Tab")
        at = await focused(page)
        if at["tag"] != "BODY":  # the browser's own controls come between two rounds
            assert at["isSeen"], at
        if all(at[name] == value for name, value in wanted.items()):
            return at
    raise AssertionError(f"{wanted} is not within {within} stops")
