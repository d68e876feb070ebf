"""The catalogue on the page at `/`, and the way of a request to it, in a real browser."""

import re

import pytest
from playwright.async_api import Page, Route, expect

from postroad.contracts.catalog import Product
from tests.e2e.browser import NEEDS_CHROMIUM, titles

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), NEEDS_CHROMIUM]


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
