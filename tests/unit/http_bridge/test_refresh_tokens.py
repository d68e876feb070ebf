"""Refresh tokens: in several cookies of one name, and in whose bodies."""

from collections.abc import AsyncIterator

import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    CreateSession,
    Ended,
    EndSession,
    RefreshSession,
    Session,
)
from postroad.contracts.errors import InvalidRefreshToken
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.sealing import seal, unseal
from postroad.testing import calling, serving
from tests.support.bridges import ask, cookies, make_bridge
from tests.support.brokers import MemoryUnderTest


class Sessions:
    """An auth worker that knows a few refresh tokens, and notes which ones it was asked about."""

    def __init__(self, keys: KeyRing, *known: str) -> None:
        self._keys = keys
        self._known = known
        self.asked: list[str] = []

    async def refresh(self, request: RefreshSession) -> Session:
        self._check(request.sealed_refresh_token)
        return self._session()

    def _session(self) -> Session:
        new = seal("new", to="bridge", context=REFRESH_CONTEXT, trust=self._keys.trust)
        return Session(
            access_token="access",
            expires_in=900,
            sealed_refresh_token=new,
            refresh_expires_in=900,
            user_id=1,
        )

    async def sign_in(self, _: CreateSession) -> Session:
        return self._session()

    async def end(self, request: EndSession) -> Ended:
        self._check(request.sealed_refresh_token or "")
        return Ended()

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
        CreateSession: sessions.sign_in,
        RefreshSession: sessions.refresh,
        EndSession: sessions.end,
    }
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


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


# who gets tokens in the body

OURS = (b"sec-fetch-site", b"same-origin")
FROM = (b"origin", b"http://here.local")
JSON_BODY = (b"content-type", b"application/json")
SIGN_IN = b'{"username":"reader","password":"secret"}'
IN_BODY = {"access_token", "token_type", "refresh_token"}


async def test_who_refreshes_by_the_cookie_gets_no_token_that_a_script_reads(
    bridge: Bridge,
) -> None:
    answer = await ask(bridge, "POST", "/auth/refresh", headers=cookies("refresh_token=good"))

    assert answer.json() == {"message": "refreshed", "expires_in": 900, "refresh_expires_in": 900}
    assert [name for name, _ in answer.lines].count(b"set-cookie") == 2


@pytest.mark.parametrize(
    ("path", "body"), [("/auth", SIGN_IN), ("/auth/refresh", b'{"refresh_token":"good"}')]
)
@pytest.mark.parametrize(
    ("headers", "is_told"), [([], True), ([OURS], False), ([FROM], False), ([OURS, FROM], False)]
)
async def test_a_browser_gets_its_tokens_as_cookies_alone(
    bridge: Bridge, path: str, body: bytes, headers: Headers, is_told: bool
) -> None:
    answer = await ask(bridge, "POST", path, headers=[JSON_BODY, *headers], body=body)

    assert answer.status == 200
    assert IN_BODY & answer.json().keys() == (IN_BODY if is_told else set())
    assert [name for name, _ in answer.lines].count(b"set-cookie") == 2


async def test_who_sends_a_refresh_token_gets_one_though_its_cookies_came_along(
    bridge: Bridge,
) -> None:
    headers = [JSON_BODY, *cookies("refresh_token=good")]
    body = b'{"refresh_token":"good"}'

    answer = await ask(bridge, "POST", "/auth/refresh", headers=headers, body=body)

    assert answer.json().keys() >= IN_BODY


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth", b'{"username":"reader","username":"admin","password":"x"}'),
        ("/auth", b'{"username":"reader","password":"x","\\u0070assword":"y"}'),
        ("/auth", b'{"username":"reader","password":"x","more":[{"a":1,"a":2}]}'),
        ("/auth/refresh", b'{"refresh_token":"stale","refresh_token":"good"}'),
        ("/auth/logout", b'{"refresh_token":"stale","refresh_token":"good"}'),
    ],
)
async def test_a_body_that_can_be_read_in_two_ways_is_refused(
    bridge: Bridge, sessions: Sessions, path: str, body: bytes
) -> None:
    answer = await ask(bridge, "POST", path, headers=[JSON_BODY], body=body)

    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert sessions.asked == []


async def test_a_number_of_many_digits_is_no_bug(bridge: Bridge) -> None:
    body = b'{"username":"reader","password":"x","more":%b}' % (b"9" * 6000)

    assert (await ask(bridge, "POST", "/auth", headers=[JSON_BODY], body=body)).status < 500
