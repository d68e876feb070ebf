"""Headers as clients send them: several of a name, several cookies, and where a page is from."""

from collections.abc import AsyncIterator

import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers, HttpRequest, Scope
from http_bridge.http.caching import holds
from http_bridge.http.problems import CrossSite
from http_bridge.http.same_site import check_same_site
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    Ended,
    EndSession,
    GetOwnUser,
    RefreshSession,
    Session,
    UserProfile,
)
from postroad.contracts.errors import InvalidRefreshToken
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.sealing import seal, unseal
from postroad.testing import calling, serving
from postroad.testing.keys import token_text
from tests.support.bridges import ask, make_bridge
from tests.support.brokers import MemoryUnderTest

STALE = "eyJhbGciOiJFZERTQSJ9.e30.AA"


class Sessions:
    """An auth worker that knows a few refresh tokens, and notes which ones it was asked about."""

    def __init__(self, keys: KeyRing, *known: str) -> None:
        self._keys = keys
        self._known = known
        self.asked: list[str] = []

    async def refresh(self, request: RefreshSession) -> Session:
        self._check(request.sealed_refresh_token)
        new = seal("new", to="bridge", context=REFRESH_CONTEXT, trust=self._keys.trust)
        return Session(
            access_token="access",
            expires_in=900,
            sealed_refresh_token=new,
            refresh_expires_in=900,
            user_id=1,
        )

    async def end(self, request: EndSession) -> Ended:
        self._check(request.sealed_refresh_token or "")
        return Ended()

    async def own_user(self, _: GetOwnUser) -> UserProfile:
        return UserProfile(user_id=1, username="reader", roles=[], scopes=[])

    def _check(self, sealed: str) -> None:
        token = unseal(sealed, context=REFRESH_CONTEXT, identity=self._keys.identity)
        self.asked.append(token)
        if token not in self._known:
            raise InvalidRefreshToken


@pytest.fixture
def sessions(keys: dict[str, KeyRing]) -> Sessions:
    return Sessions(keys["auth"], "good", "better")


@pytest.fixture
async def bridge(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], sessions: Sessions
) -> AsyncIterator[Bridge]:
    handlers: Handlers = {
        RefreshSession: sessions.refresh,
        EndSession: sessions.end,
        GetOwnUser: sessions.own_user,
    }
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


@pytest.fixture
def good(identities: dict[str, Identity]) -> str:
    return token_text(identities["auth"])


def cookies(*lines: str) -> Headers:
    return [(b"cookie", line.encode()) for line in lines]


def request_with(*headers: tuple[bytes, bytes], scheme: str = "http") -> HttpRequest:
    async def receive() -> Scope:
        raise AssertionError("nobody reads the body")

    scope: Scope = {
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "scheme": scheme,
        "headers": list(headers),
    }
    return HttpRequest.from_scope(scope, receive)


# several cookies of our name


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


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
@pytest.mark.parametrize(
    "lines",
    [
        ("refresh_token=stale; refresh_token=good",),
        ("refresh_token=good; refresh_token=stale",),
        ("refresh_token=stale", "refresh_token=good"),
        ('$Version="1"; refresh_token="good";$Path="/auth"',),
    ],
)
async def test_of_several_refresh_tokens_the_valid_one_counts(
    bridge: Bridge, path: str, lines: tuple[str, ...]
) -> None:
    assert (await ask(bridge, "POST", path, headers=cookies(*lines))).status == 200


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_a_request_can_try_few_refresh_tokens(
    bridge: Bridge, sessions: Sessions, path: str
) -> None:
    many = "; ".join(f"refresh_token=guess{number}" for number in range(100))

    answer = await ask(bridge, "POST", path, headers=cookies(many))

    assert (answer.status, answer.json()["code"]) == (401, "invalid_refresh_token")
    assert sessions.asked == ["guess0", "guess1", "guess2", "guess3"]


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_a_cookie_too_long_to_be_a_refresh_token_of_ours_is_none(
    bridge: Bridge, path: str
) -> None:
    headers = cookies(f"refresh_token={'x' * 5000}")
    beside = cookies(f"refresh_token={'x' * 5000}; refresh_token=good")

    assert (await ask(bridge, "POST", path, headers=headers)).status == 401
    assert (await ask(bridge, "POST", path, headers=beside)).status == 200


async def test_a_refresh_uses_one_token_and_a_sign_out_ends_every_session(
    bridge: Bridge, sessions: Sessions
) -> None:
    headers = cookies("refresh_token=good; refresh_token=better")

    await ask(bridge, "POST", "/auth/refresh", headers=headers)
    await ask(bridge, "POST", "/auth/logout", headers=headers)

    assert sessions.asked == ["good", "good", "better"]


# other headers that come several times


def test_a_list_may_come_in_several_lines() -> None:
    request = request_with((b"if-none-match", b'"a", "b"'), (b"if-none-match", b'"c"'))

    assert [holds(request, tag) for tag in (b'"a"', b'"c"', b'"d"')] == [True, True, False]


@pytest.mark.parametrize("other", [b"Bearer x", b"Basic eDp5"])
async def test_of_two_tokens_in_headers_neither_is_taken(
    bridge: Bridge, good: str, other: bytes
) -> None:
    tokens = [(b"authorization", f"Bearer {good}".encode()), (b"authorization", other)]

    for headers in (tokens, tokens[::-1]):
        assert (await ask(bridge, "GET", "/auth/me", headers=headers)).status == 401


# where a page is from


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", b"intra.example", b"http://intra.example"),
        ("http", b"intra.example:80", b"http://intra.example"),
        ("http", b"intra.example:", b"http://intra.example"),
        ("http", b"intra.example", b"http://intra.example:80"),
        ("https", b"intra.example:443", b"https://intra.example"),
        ("http", b"intra.example:8000", b"http://intra.example:8000"),
        ("http", b"Intra.Example", b"http://intra.example"),
        ("http", b"intra.example", b"HTTP://INTRA.example"),
        ("http", b"intra.example.", b"http://intra.example."),
        ("http", b"[::1]:8000", b"http://[::1]:8000"),
        ("http", b"[2001:DB8:0:0::1]", b"http://[2001:db8::1]:80"),
    ],
)
def test_an_origin_is_ours_by_scheme_host_and_port(scheme: str, host: bytes, origin: bytes) -> None:
    check_same_site(request_with((b"host", host), (b"origin", origin), scheme=scheme))


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", b"intra.example", b"http://intra.example"),
        ("http", b"intra.example", b"https://intra.example"),
        ("http", b"intra.example", b"ftp://intra.example"),
        ("http", b"intra.example", b"http://intra.example:8000"),
        ("http", b"intra.example:443", b"http://intra.example"),
        ("http", b"intra.example", b"http://intra.example."),  # another host (section 5)
        ("http", b"intra.example", b"http://intra.example.evil.example"),
        ("http", b"intra.example", b"http://evil.example@intra.example"),
        ("http", b"intra.example", b"http://intra.example/"),
        ("http", b"intra.example", b"http://evil.example http://intra.example"),
        ("http", b"intra.example", b"intra.example"),
        ("http", b"intra.example", b"null"),
        ("http", b"intra.example", b""),
        ("http", b"intra.example", b"http://["),
        ("http", b"", b"http://"),
        ("http", b"[::1]", b"http://[::2]"),
        ("http", b"[::g]", b"http://[::g]"),
        ("http", b"intra.example:x", b"http://intra.example"),
    ],
)
def test_an_origin_that_differs_or_is_none_is_another_site(
    scheme: str, host: bytes, origin: bytes
) -> None:
    with pytest.raises(CrossSite):
        check_same_site(request_with((b"host", host), (b"origin", origin), scheme=scheme))


def test_of_two_origins_neither_is_ours() -> None:
    ours = (b"origin", b"http://intra.example")

    with pytest.raises(CrossSite):
        check_same_site(request_with((b"host", b"intra.example"), ours, ours))
