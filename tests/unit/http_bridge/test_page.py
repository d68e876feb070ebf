"""The parts of the page, and who is given them."""

import re

import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers, HttpRequest
from http_bridge.routes.page import PATHS, wants_html
from postroad.security.keyring import KeyRing
from tests.support.bridges import Answer, ask, make_bridge
from tests.support.brokers import MemoryUnderTest

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.fixture
def bridge(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> Bridge:
    return make_bridge(memory_broker.as_user("bridge"), keys["bridge"])


async def part(bridge: Bridge, path: str, **headers: bytes) -> Answer:
    given = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return await ask(bridge, "GET", path, headers=[(b"accept", BROWSER), *given])


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
    async def receive() -> dict[str, object]:
        raise AssertionError("no body is read")

    headers: Headers = [(b"accept", accept)]
    scope = {"method": "GET", "path": "/", "query_string": b"", "scheme": "http"}
    request = HttpRequest.from_scope(scope | {"headers": headers}, receive)

    assert wants_html(request) is html


async def test_every_part_has_a_type_a_tag_and_a_policy_without_anything_inline(
    bridge: Bridge,
) -> None:
    kinds = {"css": b"text/css", "js": b"text/javascript", "svg": b"image/svg+xml"}

    for path in ["/", *PATHS]:
        response = await part(bridge, path)
        headers = response.headers

        kind = kinds.get(path.rpartition(".")[2], b"text/html")
        assert headers[b"content-type"].startswith(kind)
        assert re.fullmatch(rb'"[0-9a-f]{24}"', headers[b"etag"])
        policy = headers[b"content-security-policy"]
        assert policy.startswith(b"default-src 'none'; ")
        assert b"frame-ancestors 'none'" in policy
        assert b"unsafe" not in policy
        assert b"*" not in policy


async def test_a_part_that_the_browser_has_is_not_sent_again(bridge: Bridge) -> None:
    first = await part(bridge, "/page/main.js")
    tag = first.headers[b"etag"]

    second = await part(bridge, "/page/main.js", if_none_match=tag)
    other = await part(bridge, "/page/main.js", if_none_match=b'"old"')

    assert (second.status, second.body) == (304, b"")
    assert (other.status, other.body) == (200, first.body)


async def test_the_page_asks_for_its_own_parts_only(bridge: Bridge) -> None:
    html = (await part(bridge, "/")).body.decode()

    asked = re.findall(r'(?:src|href)="([^"#]+)"', html)
    imported = [
        f"/page/{name}"
        for path in PATHS
        for name in re.findall(r'from "\./([^"]+)"', (await part(bridge, path)).body.decode())
    ]

    parts = {path for path in [*asked, *imported] if path.startswith("/page/")}
    assert parts <= set(PATHS)
    assert {path for path in asked if not path.startswith("/")} == set()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?! type=\"module\" src=)", html)


async def test_passwords_are_masked_and_may_be_pasted(bridge: Bridge) -> None:
    html = (await part(bridge, "/")).body.decode()

    fields = re.findall(r"<input[^>]*password[^>]*>", html)
    assert fields
    for field in fields:
        assert 'type="password"' in field
        assert re.search(r'autocomplete="(current|new)-password"', field)
    for path in PATHS:
        assert not re.search(rb"\b(on)?(paste|beforeinput)\b", (await part(bridge, path)).body)


async def test_no_part_is_there_for_nothing(bridge: Bridge) -> None:
    bodies = {path: (await part(bridge, path)).body.decode() for path in ["/", *PATHS]}

    for path in PATHS:
        name = path.rpartition("/")[2]
        assert any(name in body for other, body in bodies.items() if other != path), path


async def test_no_script_makes_html_of_strings(bridge: Bridge) -> None:
    for path in PATHS:
        assert b"innerHTML" not in (await part(bridge, path)).body
