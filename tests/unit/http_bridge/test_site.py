"""Where the bridge is on the web: under which names users sign in, and what cookies they get."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from http_bridge.__main__ import outside_of
from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers, Scope
from http_bridge.http.problems import CrossSite
from http_bridge.http.site import Site
from http_bridge.settings import BridgeSettings
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    CreateSession,
    GetOwnUser,
    RefreshSession,
    Session,
    UserProfile,
)
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.sealing import seal
from postroad.testing import calling, serving
from postroad.testing.keys import token_text
from tests.support.bridges import Answer, ask, cookies, make_bridge, request_with
from tests.support.brokers import MemoryUnderTest

Build = Callable[..., Bridge]
SIGN_IN = b'{"username":"admin","password":"admin"}'
PUBLIC = "https://shop.example"


@pytest.fixture
async def build(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Build]:
    """Make bridges in front of an auth worker that lets everybody in."""

    async def sign_in(_: CreateSession | RefreshSession) -> Session:
        new = seal("new", to="bridge", context=REFRESH_CONTEXT, trust=keys["auth"].trust)
        return Session(
            access_token="access",
            expires_in=900,
            sealed_refresh_token=new,
            refresh_expires_in=900,
            user_id=1,
        )

    async def own_user(_: GetOwnUser) -> UserProfile:
        return UserProfile(user_id=1, username="reader", roles=[], scopes=[])

    handlers: Handlers = {CreateSession: sign_in, RefreshSession: sign_in, GetOwnUser: own_user}
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        user = memory_broker.as_user("bridge")

        def build(**settings: Any) -> Bridge:
            return make_bridge(user, keys["bridge"], client=client, **settings)

        yield build


async def sign_in(bridge: Bridge, *headers: tuple[bytes, bytes], scheme: str = "http") -> Answer:
    given = [(b"content-type", b"application/json"), *headers]
    return await ask(bridge, "POST", "/auth", headers=given, body=SIGN_IN, scheme=scheme)


def set_cookies(answer: Answer) -> list[str]:
    return [value.decode() for name, value in answer.lines if name == b"set-cookie"]


# under which name

EVIL = b"evil.example:8000"  # that its owner lets name 127.0.0.1
NAMES = [
    *(b"localhost:8000", b"LOCALHOST", b"localhost.", b"shop.localhost:8000"),
    *(b"127.0.0.1:8000", b"[::1]:8000", b"192.168.7.5:8000", b"[fd00::7]"),
]
FOREIGN = [EVIL, b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example", b"box", b""]


@pytest.mark.parametrize("host", FOREIGN)
async def test_nobody_signs_in_under_a_name_that_may_be_another_s(
    build: Build, host: bytes
) -> None:
    page: Headers = [(b"host", host), (b"origin", b"http://" + host)]
    bridge = build(is_development=True)

    refused = await sign_in(bridge, *page)
    renewed = await ask(
        bridge, "POST", "/auth/refresh", headers=[*page, *cookies("refresh_token=good")]
    )

    for answer in (refused, renewed):
        assert (answer.status, answer.json()["code"]) == (421, "unknown_host")
        assert "BRIDGE_PUBLIC_URL" in answer.json()["detail"]
        assert set_cookies(answer) == []


@pytest.mark.parametrize("host", NAMES)
@pytest.mark.parametrize("public_url", [None, PUBLIC])
async def test_by_this_machine_s_names_and_by_addresses_users_sign_in(
    build: Build, host: bytes, public_url: str | None
) -> None:
    answer = await sign_in(build(is_development=True, public_url=public_url), (b"host", host))

    assert answer.status == 200


def test_the_name_that_it_listens_on_is_its_own() -> None:
    Site(None, host="box", is_development=True).check_host(request_with((b"host", b"Box:8000")))


async def test_who_is_no_browser_need_not_say_a_host(build: Build) -> None:
    assert (await sign_in(build(is_development=True))).status == 200  # HTTP/1.0


@pytest.mark.parametrize("host", [b"shop.example", b"Shop.Example:443"])
@pytest.mark.parametrize("is_development", [False, True])
async def test_under_the_public_name_users_sign_in(
    build: Build, host: bytes, is_development: bool
) -> None:
    bridge = build(public_url=PUBLIC, is_development=is_development)

    assert (await sign_in(bridge, (b"host", host))).status == 200


async def test_a_public_name_is_the_only_one_in_production(build: Build) -> None:
    assert (await sign_in(build(public_url=PUBLIC), (b"host", EVIL))).status == 421


async def test_without_a_public_name_any_is_taken_in_production(build: Build) -> None:
    assert (await sign_in(build(), (b"host", b"app.hosting.example"))).status == 200


# cookies

PLAIN = ["token=access; Path=/; ", "refresh_token=new; Path=/auth; "]
SECURE = ["__Host-token=access; Path=/; ", "__Secure-refresh_token=new; Path=/auth; "]


@pytest.mark.parametrize(
    ("public_url", "scheme", "is_secure"),
    [
        (None, "http", False),
        (None, "https", True),  # as a proxy said that is believed
        (PUBLIC, "http", True),  # as a proxy did not say
        (PUBLIC, "https", True),
        ("http://127.0.0.1:8000", "http", False),
        ("http://127.0.0.1:8000", "https", False),
    ],
)
async def test_over_https_cookies_have_names_that_are_for_https_alone(
    build: Build, public_url: str | None, scheme: str, is_secure: bool
) -> None:
    found = set_cookies(await sign_in(build(public_url=public_url), scheme=scheme))

    assert [cookie.startswith(SECURE[n]) for n, cookie in enumerate(found)] == [is_secure] * 2
    assert [cookie.startswith(PLAIN[n]) for n, cookie in enumerate(found)] == [not is_secure] * 2
    assert [cookie.endswith("; Secure") for cookie in found] == [is_secure] * 2
    assert not any("domain" in cookie.lower() for cookie in found)


@pytest.mark.parametrize(
    ("name", "scheme", "status"),
    [
        ("__Host-token", "https", 200),
        ("token", "https", 401),  # which a neighbour in the domain can set
        ("token", "http", 200),
        ("__Host-token", "http", 401),
    ],
)
async def test_a_cookie_that_a_neighbour_could_set_is_not_read_over_https(
    build: Build, identities: dict[str, Identity], name: str, scheme: str, status: int
) -> None:
    headers = cookies(f"{name}={token_text(identities['auth'])}")

    answer = await ask(build(), "GET", "/auth/me", headers=headers, scheme=scheme)

    assert answer.status == status


@pytest.mark.parametrize(
    ("name", "scheme", "status"),
    [
        ("__Secure-refresh_token", "https", 200),
        ("refresh_token", "https", 401),
        ("refresh_token", "http", 200),
    ],
)
async def test_a_refresh_token_that_a_neighbour_could_set_is_not_read_over_https(
    build: Build, name: str, scheme: str, status: int
) -> None:
    headers = cookies(f"{name}=good")

    answer = await ask(build(), "POST", "/auth/refresh", headers=headers, scheme=scheme)

    assert answer.status == status


# pages

HOST = (b"host", b"bridge.internal:8000")  # as a proxy may ask


def test_a_page_at_the_public_url_is_ours_whatever_the_proxy_asks() -> None:
    site = Site(PUBLIC, is_development=False)

    site.check_same_site(request_with(HOST, (b"origin", PUBLIC.encode())))


@pytest.mark.parametrize("origin", [b"http://shop.example", b"https://evil.example", b"null"])
def test_a_page_elsewhere_is_not_ours(origin: bytes) -> None:
    site = Site(PUBLIC, is_development=False)

    with pytest.raises(CrossSite):
        site.check_same_site(request_with(HOST, (b"origin", origin)))


# what is said and believed outside


@pytest.mark.parametrize(
    ("public_url", "is_said"), [(None, False), ("http://shop.example", False), (PUBLIC, True)]
)
def test_browsers_are_told_to_come_by_https_alone(public_url: str | None, is_said: bool) -> None:
    headers = outside_of(BridgeSettings(public_url=public_url))["headers"]

    assert headers == [("strict-transport-security", "max-age=31536000")] * is_said


@pytest.mark.parametrize(
    ("believed", "client", "scheme"),
    [
        (None, "127.0.0.1", "http"),
        ("127.0.0.1", "203.0.113.7", "https"),
        ("10.0.0.0/8", "127.0.0.1", "http"),
    ],
)
async def test_nobody_is_believed_of_whom_a_request_is_unless_named(
    monkeypatch: pytest.MonkeyPatch, believed: str | None, client: str, scheme: str
) -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope)

    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if believed is not None:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", believed)
    config = uvicorn.Config(application, log_config=None, **outside_of(BridgeSettings()))
    config.load()
    forwarded = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    asked: Any = {"type": "http", "scheme": "http", "client": ("127.0.0.1", 9)}

    await config.loaded_app(asked | {"headers": forwarded}, None, None)

    assert (seen[0]["client"][0], seen[0]["scheme"]) == (client, scheme)


@pytest.mark.parametrize("wanted_s", [75, 620])
def test_a_load_balancer_lets_go_of_an_idle_connection_before_we_do(
    monkeypatch: pytest.MonkeyPatch, wanted_s: int
) -> None:
    """Else it sends a request into one that is just being closed, and tells its client 502."""
    if wanted_s != 75:  # more than the 60 s of most
        monkeypatch.setenv("BRIDGE_KEEP_ALIVE_S", str(wanted_s))

    config = uvicorn.Config(lambda: None, log_config=None, **outside_of(BridgeSettings()))

    assert config.timeout_keep_alive == wanted_s


@pytest.mark.parametrize(
    "url",
    ["shop.example", "ftp://shop.example", "https://shop.example/shop", "https://bücher.example"],
)
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        BridgeSettings(public_url=url)
