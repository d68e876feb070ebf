"""Signing in and out on the page at `/`, in a real browser, against the whole running system."""

import asyncio

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser import NEEDS_CHROMIUM, focused, queue, sign_in
from tests.e2e.signing_in import PASSWORD

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), NEEDS_CHROMIUM]


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
