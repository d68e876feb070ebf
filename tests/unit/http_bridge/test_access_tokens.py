"""Access tokens as clients send them: in several cookies, in several headers."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from time import monotonic

import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers
from http_bridge.http.cookies import COOKIES_MAX
from postroad.contracts.auth import GetOwnUser, UserProfile
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.token_verifier import Revocations
from postroad.testing import calling, serving
from postroad.testing.keys import token_text
from tests.support.bridges import ROUTES, ask, cookies, make_bridge, make_test_backend
from tests.support.brokers import MemoryUnderTest

STALE = "eyJhbGciOiJFZERTQSJ9.e30.AA"


async def own_user(_: GetOwnUser) -> UserProfile:
    return UserProfile(user_id=1, username="reader", roles=[], scopes=[])


@pytest.fixture
async def bridge(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Bridge]:
    async with (
        serving(memory_broker, keys["auth"], {GetOwnUser: own_user}),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


@pytest.fixture
def good(identities: dict[str, Identity]) -> str:
    return token_text(identities["auth"])


@pytest.mark.parametrize(
    "lines",
    [
        (f"token={STALE}; token={{good}}",),
        ("token={good}; token=",),
        ("token=; token={good}",),
        (f"token={STALE}", "token={good}"),
        ("token={good}", f"token={STALE}"),
        ("a=b; token={good}", "c=d"),
        ('$Version="1"; token="{good}";$Path="/";$Domain="here.local"',),  # Java's CookieManager
    ],
)
async def test_of_several_cookies_of_our_name_the_valid_one_counts(
    bridge: Bridge, good: str, lines: tuple[str, ...]
) -> None:
    headers = cookies(*(line.format(good=good) for line in lines))

    assert (await ask(bridge, "GET", "/auth/me", headers=headers)).status == 200


async def test_of_cookies_of_which_none_is_valid_the_first_is_refused(bridge: Bridge) -> None:
    expired = await ask(bridge, "GET", "/auth/me", headers=cookies(f"token=x; token={STALE}"))
    nothing = await ask(bridge, "GET", "/auth/me", headers=cookies("token=; other=x"))

    assert (expired.status, nothing.status) == (401, 401)
    assert b"invalid_token" in expired.headers[b"www-authenticate"]
    assert b"invalid_token" not in nothing.headers[b"www-authenticate"]


async def test_a_request_can_try_few_access_tokens(bridge: Bridge, good: str) -> None:
    def among(number: int) -> Headers:
        return cookies(
            "; ".join([*(f"token={each}.{STALE}" for each in range(number)), f"token={good}"])
        )

    assert (await ask(bridge, "GET", "/auth/me", headers=among(COOKIES_MAX - 1))).status == 200
    assert (await ask(bridge, "GET", "/auth/me", headers=among(COOKIES_MAX))).status == 401


@pytest.mark.parametrize("other", [b"Bearer x", b"Basic eDp5"])
async def test_of_two_tokens_in_headers_neither_is_taken(
    bridge: Bridge, good: str, other: bytes
) -> None:
    tokens = [(b"authorization", f"Bearer {good}".encode()), (b"authorization", other)]

    for headers in (tokens, tokens[::-1]):
        assert (await ask(bridge, "GET", "/auth/me", headers=headers)).status == 401


async def test_while_nobody_knows_which_sessions_ended_no_token_is_taken(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], good: str
) -> None:
    unknown = Revocations()
    unknown.known_until = monotonic() - 1
    backend = make_test_backend(
        memory_broker.as_user("bridge"), keys["bridge"], revocations=unknown
    )
    bridge = Bridge(ROUTES, backend, lifespan=nullcontext)

    refused = [
        await ask(bridge, "GET", path, headers=cookies(f"token={good}"))
        for path in ("/products", "/auth/me", "/live")
    ]
    nothing = await ask(bridge, "GET", "/products")

    assert [(each.status, each.json()["code"]) for each in refused] == [(503, "unavailable")] * 3
    assert nothing.status == 401
