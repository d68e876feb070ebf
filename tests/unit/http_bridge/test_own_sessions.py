"""A user's own sessions over HTTP: who may ask, from which pages, and what a sign-out clears."""

from collections.abc import AsyncIterator

import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers
from postroad.contracts.auth import (
    Ended,
    EndOwnSession,
    EndSession,
    ListOwnSessions,
    OwnSession,
    OwnSessionList,
)
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.testing import calling, serving
from postroad.testing.keys import token_text
from tests.support.bridges import ask, cookies, make_bridge
from tests.support.brokers import MemoryUnderTest

SESSION = OwnSession(
    session_id="019a2b6e-4c1d-7b53-9f0e-2d7c51a8e604",
    created_at=1.0,
    refreshed_at=2.0,
    client_network=None,
    is_current=True,
)
ONE = f"/auth/sessions/{SESSION.session_id}"


class Auth:
    """An auth worker that notes which sessions were ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def list(self, _: ListOwnSessions) -> OwnSessionList:
        return OwnSessionList(data=[SESSION])

    async def end_own(self, request: EndOwnSession) -> Ended:
        self.ended.append(request.session_id)
        return Ended()

    async def end(self, _: EndSession) -> Ended:
        return Ended()


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
async def bridge(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], auth: Auth
) -> AsyncIterator[Bridge]:
    handlers: Handlers = {
        ListOwnSessions: auth.list,
        EndOwnSession: auth.end_own,
        EndSession: auth.end,
    }
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


@pytest.fixture
def signed_in(identities: dict[str, Identity]) -> Headers:
    return cookies(f"token={token_text(identities['auth'])}")


async def test_a_user_sees_and_ends_their_sessions(
    bridge: Bridge, auth: Auth, signed_in: Headers
) -> None:
    seen = await ask(bridge, "GET", "/auth/sessions", headers=signed_in)
    gone = await ask(bridge, "DELETE", ONE, headers=signed_in)

    assert seen.json() == {"data": [SESSION.model_dump()]}
    assert gone.status == 200
    assert auth.ended == [SESSION.session_id]
    for answer in (seen, gone):
        assert answer.headers[b"cache-control"] == b"private, no-store"
        assert b"server-timing" not in answer.headers


@pytest.mark.parametrize(("method", "path"), [("GET", "/auth/sessions"), ("DELETE", ONE)])
async def test_nobody_sees_or_ends_a_session_without_a_token(
    bridge: Bridge, auth: Auth, method: str, path: str
) -> None:
    answer = await ask(bridge, method, path)

    assert (answer.status, answer.json()["code"]) == (401, "not_authenticated")
    assert auth.ended == []


@pytest.mark.parametrize(
    "page",
    [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
        (b"origin", b"https://elsewhere.example"),
        (b"origin", b"null"),
    ],
)
async def test_another_site_s_page_ends_no_session_by_its_id(
    bridge: Bridge, auth: Auth, signed_in: Headers, page: tuple[bytes, bytes]
) -> None:
    answer = await ask(bridge, "DELETE", ONE, headers=[*signed_in, page])

    assert (answer.status, answer.json()["code"]) == (403, "cross_site")
    assert auth.ended == []


@pytest.mark.parametrize("name", ["x", "019A2B6E", "%00", "1' or '1'='1", "\0" * 36])
async def test_what_cannot_be_a_session_s_id_is_refused(
    bridge: Bridge, auth: Auth, signed_in: Headers, name: str
) -> None:
    answer = await ask(bridge, "DELETE", f"/auth/sessions/{name}", headers=signed_in)

    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert auth.ended == []


async def test_a_sign_out_clears_what_the_browser_kept_but_the_device(
    bridge: Bridge, signed_in: Headers
) -> None:
    answer = await ask(bridge, "POST", "/auth/logout", headers=signed_in)

    assert answer.headers[b"clear-site-data"] == b'"cache", "storage"'
    assert sorted(each.partition("=")[0] for each in answer.set_cookies) == [
        *("refresh_token", "token")
    ]
