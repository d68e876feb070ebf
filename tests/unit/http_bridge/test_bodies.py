"""Bodies and addresses as clients send them."""

from collections.abc import AsyncIterator

import orjson
import pytest

from http_bridge.app import Bridge
from http_bridge.asgi.messages import HttpRequest, Scope
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
from postroad.security.sealing import seal
from postroad.testing import calling, serving
from tests.support.bridges import Answer, ask, make_bridge
from tests.support.brokers import MemoryUnderTest

LONGEST, TOO_LONG = "é" * 1000, "\N{POT OF FOOD}" * 1000  # of UTF-8, 2,000 and 4,000 bytes


@pytest.fixture
async def bridge(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Bridge]:
    """A bridge, and a worker that lets everybody in and no refresh token."""

    async def sign_in(_: CreateSession) -> Session:
        refresh_token = seal("r", to="bridge", context=REFRESH_CONTEXT, trust=keys["auth"].trust)
        return Session(
            access_token="token",
            expires_in=900,
            sealed_refresh_token=refresh_token,
            refresh_expires_in=86_400,
            user_id=1,
        )

    async def refuse(_: RefreshSession | EndSession) -> Session | Ended:
        raise InvalidRefreshToken

    handlers: Handlers = {CreateSession: sign_in, RefreshSession: refuse, EndSession: refuse}
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


async def post(bridge: Bridge, path: str, body: bytes) -> Answer:
    headers = [(b"content-type", b"application/json")]
    return await ask(bridge, "POST", path, headers=headers, body=body)


async def test_a_byte_order_mark_before_a_body_is_ignored(bridge: Bridge) -> None:
    body = b'\xef\xbb\xbf{"username":"reader","password":"secret"}'

    answer = await post(bridge, "/auth", body)

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/auth", "/auth/refresh", "/auth/logout"])
async def test_a_secret_that_is_too_long_to_be_sealed_is_400(bridge: Bridge, path: str) -> None:
    field = "password" if path == "/auth" else "refresh_token"

    longest, too_long = [
        await post(bridge, path, orjson.dumps({"username": "reader", field: secret}))
        for secret in (LONGEST, TOO_LONG)
    ]

    assert longest.status in (200, 401)
    assert (too_long.status, too_long.json()["code"]) == (400, "invalid_request")
    assert too_long.json()["detail"] == f"{field}: Value should have at most 3000 bytes in UTF-8"


async def never() -> Scope:
    raise AssertionError("nothing is to be read")


async def test_an_address_that_is_none_is_no_longer_than_the_contract_takes() -> None:
    scope: Scope = {
        "method": "POST",
        "path": "/auth",
        "query_string": b"",
        "scheme": "http",
        "headers": [],
        "client": ("a" * 500, 0),  # as a proxy that is believed forwards it
    }

    address = HttpRequest.from_scope(scope, never).client_address

    CreateSession(username="reader", sealed_password="sealed", client_address=address)
