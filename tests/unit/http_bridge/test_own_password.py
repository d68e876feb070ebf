"""Changing one's own password over HTTP: what is handed on, and from which pages."""

from collections.abc import AsyncIterator
from typing import Literal

import orjson
import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers
from postroad.context import current_context
from postroad.contracts.auth import ChangePassword, PasswordChanged, new_password_context
from postroad.contracts.errors import InvalidCredentials, ServiceError, TooManyAttempts
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.sealing import unseal
from postroad.testing import calling, serving
from postroad.testing.keys import token_text
from tests.support.bridges import Answer, ask, cookies, make_bridge
from tests.support.brokers import MemoryUnderTest

BODY = {"current_password": "old secret", "new_password": "new secret"}


class Auth:
    """An auth worker that notes what it was asked, and raises ``refusal`` if there is one."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.asked: list[tuple[str, str, str | None]] = []
        self.refusal: ServiceError | None = None

    async def change(self, request: ChangePassword) -> PasswordChanged:
        asked = current_context.get()

        def opened(which: Literal["current", "new"], sealed: str) -> str:
            context = new_password_context(
                which,
                caller=asked.caller,
                message_id=asked.message_id,
                deadline=asked.deadline,
            )
            return unseal(sealed, context=context, identity=self._keys.identity)

        current = opened("current", request.sealed_password)
        new = opened("new", request.sealed_new_password)
        self.asked.append((current, new, request.device_token))
        if self.refusal is not None:
            raise self.refusal
        return PasswordChanged(device_token="this-client", ended_sessions=2)


@pytest.fixture
def auth(keys: dict[str, KeyRing]) -> Auth:
    return Auth(keys["auth"])


@pytest.fixture
async def bridge(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], auth: Auth
) -> AsyncIterator[Bridge]:
    handlers: Handlers = {ChangePassword: auth.change}
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


@pytest.fixture
def token(identities: dict[str, Identity]) -> str:
    return token_text(identities["auth"])


async def change(bridge: Bridge, *headers: tuple[bytes, bytes], body: object = None) -> Answer:
    given: Headers = [(b"content-type", b"application/json"), *headers]
    return await ask(
        bridge, "POST", "/auth/password", headers=given, body=orjson.dumps(body or BODY)
    )


async def test_a_user_changes_their_password(bridge: Bridge, auth: Auth, token: str) -> None:
    answer = await change(bridge, *cookies(f"token={token}; device=before"))

    assert answer.json() == {"message": "password changed", "ended_sessions": 2}
    assert auth.asked == [("old secret", "new secret", "before")]
    [cookie] = answer.set_cookies
    assert cookie.startswith("device=this-client; Path=/auth; ")
    assert answer.headers[b"cache-control"] == b"private, no-store"


@pytest.mark.parametrize("refusal", [None, InvalidCredentials()])
async def test_nobody_is_told_how_long_a_change_took(
    bridge: Bridge, auth: Auth, token: str, refusal: ServiceError | None
) -> None:
    auth.refusal = refusal

    answer = await change(bridge, *cookies(f"token={token}"))

    assert answer.status == (401 if refusal else 200)
    assert b"server-timing" not in answer.headers


@pytest.mark.parametrize(
    "page",
    [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
        (b"origin", b"https://elsewhere.example"),
    ],
)
async def test_another_site_s_page_changes_no_password(
    bridge: Bridge, auth: Auth, token: str, page: tuple[bytes, bytes]
) -> None:
    answer = await change(bridge, *cookies(f"token={token}"), page)

    assert (answer.status, answer.json()["code"]) == (403, "cross_site")
    assert auth.asked == []


async def test_nobody_changes_a_password_without_a_token(bridge: Bridge, auth: Auth) -> None:
    answer = await change(bridge)

    assert (answer.status, answer.json()["code"]) == (401, "not_authenticated")
    assert auth.asked == []


@pytest.mark.parametrize(
    "body",
    [
        {"new_password": "new secret"},
        {"current_password": "", "new_password": "new secret"},
        {"current_password": "old secret", "new_password": "x" * 1001},
        {"current_password": "old secret", "new_password": "\U0001f600" * 1000},
    ],
)
async def test_a_body_without_both_passwords_is_refused_and_not_told(
    bridge: Bridge, auth: Auth, token: str, body: dict[str, str]
) -> None:
    answer = await change(bridge, *cookies(f"token={token}"), body=body)

    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert b"secret" not in answer.body
    assert auth.asked == []


async def test_a_body_that_can_be_read_in_two_ways_changes_no_password(
    bridge: Bridge, auth: Auth, token: str
) -> None:
    headers = [(b"content-type", b"application/json"), *cookies(f"token={token}")]
    body = b'{"current_password":"a","new_password":"one","new_password":"two"}'

    answer = await ask(bridge, "POST", "/auth/password", headers=headers, body=body)

    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert auth.asked == []


async def test_a_change_that_is_refused_for_a_while_is_not_asked_again_meanwhile(
    bridge: Bridge, auth: Auth, token: str
) -> None:
    auth.refusal = TooManyAttempts(retry_after_s=900)
    first = await change(bridge, *cookies(f"token={token}"))

    again = await change(bridge, *cookies(f"token={token}"))

    assert first.status == again.status == 429
    assert 899 <= int(again.headers[b"retry-after"]) <= 900
    assert len(auth.asked) == 1
