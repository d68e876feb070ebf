"""The parts of the page, and who is given them."""

import re

import pytest

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.routes.page import Page, wants_html

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


def request(path: str = "/", **headers: bytes) -> HttpRequest:
    async def receive() -> dict[str, object]:
        raise AssertionError("no body is read")

    scope = {
        "method": "GET",
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.replace("_", "-").encode(), value) for name, value in headers.items()],
    }
    return HttpRequest.from_scope(scope, receive)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


async def part(page: Page, path: str, **headers: bytes) -> HttpResponse:
    return await (page.index if path == "/" else page.part)(request(path, **headers))


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        (b"text/html", True),
        (b"application/json;q=0.5, text/*", True),
        (b"*/*", False),
        (b"", False),
        (b"application/json", False),
        (b"text/html;q=0.5, application/json", False),
        (b"text/html;q=0", False),
        (b"text/html;q=much", False),
        (b"TEXT/HTML", True),
    ],
)
def test_html_is_for_who_prefers_it(accept: bytes, html: bool) -> None:
    assert wants_html(request(accept=accept)) is html


async def test_every_part_has_a_type_a_tag_and_a_policy_without_anything_inline(
    page: Page,
) -> None:
    kinds = {"css": b"text/css", "js": b"text/javascript", "svg": b"image/svg+xml"}

    for path in ["/", *page.paths]:
        response = await part(page, path)
        headers = dict(response.headers)

        kind = kinds.get(path.rpartition(".")[2], b"text/html")
        assert headers[b"content-type"].startswith(kind)
        assert re.fullmatch(rb'"[0-9a-f]{24}"', headers[b"etag"])
        policy = headers[b"content-security-policy"]
        assert policy.startswith(b"default-src 'none'; ")
        assert b"frame-ancestors 'none'" in policy
        assert b"unsafe" not in policy
        assert b"*" not in policy


async def test_a_part_that_the_browser_has_is_not_sent_again(page: Page) -> None:
    first = await part(page, "/page/main.js")
    tag = dict(first.headers)[b"etag"]

    second = await part(page, "/page/main.js", if_none_match=tag)
    other = await part(page, "/page/main.js", if_none_match=b'"old"')

    assert (second.status, second.body) == (304, b"")
    assert (other.status, other.body) == (200, first.body)


async def test_the_page_asks_for_its_own_parts_only(page: Page) -> None:
    html = (await part(page, "/")).body.decode()

    asked = re.findall(r'(?:src|href)="([^"#]+)"', html)
    imported = [
        f"/page/{name}"
        for path in page.paths
        for name in re.findall(r'from "\./([^"]+)"', (await part(page, path)).body.decode())
    ]

    parts = {path for path in [*asked, *imported] if path.startswith("/page/")}
    assert parts <= set(page.paths)
    assert {path for path in asked if not path.startswith("/")} == set()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?! type=\"module\" src=)", html)


async def test_no_part_is_there_for_nothing(page: Page) -> None:
    bodies = {path: (await part(page, path)).body.decode() for path in ["/", *page.paths]}

    for path in page.paths:
        name = path.rpartition("/")[2]
        assert any(name in body for other, body in bodies.items() if other != path), path


async def test_no_script_makes_html_of_strings(page: Page) -> None:
    for path in page.paths:
        assert b"innerHTML" not in (await part(page, path)).body
