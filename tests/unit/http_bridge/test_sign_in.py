"""Signing in through the bridge: what it hands on, what it sets, and what it answers itself."""

from collections.abc import AsyncIterator

import orjson
import pytest

from http_bridge.app import Bridge
from http_bridge.http.lockouts import KEPT_MAX, Lockouts
from postroad.contracts.auth import REFRESH_CONTEXT, CreateSession, Ended, EndSession, Session
from postroad.contracts.errors import InvalidCredentials, ServiceError, TooManyAttempts
from postroad.messaging.rpc_worker import Handlers
from postroad.security.keyring import KeyRing
from postroad.security.sealing import seal, unseal
from postroad.testing import calling, serving
from tests.support.auth import Clock
from tests.support.bridges import Answer, ask, make_bridge
from tests.support.brokers import MemoryUnderTest


class Auth:
    """An auth worker that notes what it was asked, and raises ``refusal`` if there is one."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.asked: list[CreateSession] = []
        self.refusal: ServiceError | None = None

    async def create(self, request: CreateSession) -> Session:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return Session(
            access_token="access",
            expires_in=900,
            sealed_refresh_token=seal(
                "refresh", to="bridge", context=REFRESH_CONTEXT, trust=self._keys.trust
            ),
            refresh_expires_in=900,
            user_id=1,
            device_token="this-client",
        )

    async def end(self, _: EndSession) -> Ended:
        return Ended()


@pytest.fixture
def auth(keys: dict[str, KeyRing]) -> Auth:
    return Auth(keys["auth"])


@pytest.fixture
async def bridge(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], auth: Auth
) -> AsyncIterator[Bridge]:
    handlers: Handlers = {CreateSession: auth.create, EndSession: auth.end}
    async with (
        serving(memory_broker, keys["auth"], handlers),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        yield make_bridge(memory_broker.as_user("bridge"), keys["bridge"], client=client)


async def sign_in(
    bridge: Bridge,
    *,
    username: str = "reader",
    password: str = "secret",
    cookie: str | None = None,
    address: str = "192.0.2.77",
    origin: str | None = None,
) -> Answer:
    headers = [(b"content-type", b"application/json")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if cookie is not None:
        headers.append((b"cookie", cookie.encode()))
    body = orjson.dumps({"username": username, "password": password})
    return await ask(bridge, "POST", "/auth", headers=headers, body=body, address=address)


async def test_a_client_is_known_at_its_next_sign_in(bridge: Bridge, auth: Auth) -> None:
    first = await sign_in(bridge)
    [cookie] = [each for each in first.set_cookies if each.startswith("device=")]

    await sign_in(bridge, cookie=cookie.partition(";")[0])

    assert [each.device_token for each in auth.asked] == [None, "this-client"]
    assert {"Path=/auth", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))


async def test_a_client_is_still_known_after_it_has_signed_out(bridge: Bridge) -> None:
    headers = [(b"cookie", b"refresh_token=x; device=this-client")]

    answer = await ask(bridge, "POST", "/auth/logout", headers=headers)

    assert answer.status == 200
    assert not [each for each in answer.set_cookies if each.startswith("device=")]


async def test_a_device_cookie_that_is_none_of_ours_is_left_out(bridge: Bridge, auth: Auth) -> None:
    answer = await sign_in(bridge, cookie=f"device={'x' * 5000}")

    assert answer.status == 200
    assert auth.asked[0].device_token is None


async def test_what_is_refused_for_a_while_is_not_asked_again_meanwhile(
    bridge: Bridge, auth: Auth
) -> None:
    auth.refusal = TooManyAttempts(retry_after_s=900)
    first = await sign_in(bridge)

    again = await sign_in(bridge)

    assert first.status == again.status == 429
    assert 899 <= int(again.headers[b"retry-after"]) <= 900
    assert len(auth.asked) == 1


async def test_who_is_refused_costs_nobody_else_a_sign_in(bridge: Bridge, auth: Auth) -> None:
    auth.refusal = TooManyAttempts(retry_after_s=900)
    await sign_in(bridge)
    auth.refusal = None

    answers = [
        await sign_in(bridge, username="writer"),
        await sign_in(bridge, address="192.0.2.78"),
        await sign_in(bridge, cookie="device=this-client"),
    ]

    assert [each.status for each in answers] == [200, 200, 200]


def test_a_refusal_is_over_when_its_time_is() -> None:
    clock = Clock()
    lockouts = Lockouts(clock=clock)
    lockouts.add("reader", TooManyAttempts(retry_after_s=10))
    clock.now += 9.5
    with pytest.raises(TooManyAttempts) as refusal:
        lockouts.check("reader")

    clock.now += 0.5
    lockouts.check("reader")

    assert refusal.value.retry_after_s == 1


def test_no_more_refusals_are_kept_than_a_bound() -> None:
    lockouts = Lockouts()
    for number in range(KEPT_MAX + 1):
        lockouts.add(number, TooManyAttempts(retry_after_s=10))

    lockouts.check(0)

    assert len(lockouts._until) == KEPT_MAX


@pytest.mark.parametrize("refusal", [None, InvalidCredentials()])
async def test_nobody_is_told_how_long_a_sign_in_took(
    bridge: Bridge, auth: Auth, refusal: ServiceError | None
) -> None:
    auth.refusal = refusal

    answer = await sign_in(bridge)

    assert answer.status == (401 if refusal else 200)
    assert b"server-timing" not in answer.headers


async def test_the_session_that_a_client_has_is_replaced(
    bridge: Bridge, auth: Auth, keys: dict[str, KeyRing]
) -> None:
    await sign_in(bridge)
    await sign_in(bridge, cookie="refresh_token=old")
    await sign_in(bridge, cookie=f"refresh_token={'x' * 5000}")

    first, second, third = [each.sealed_refresh_token for each in auth.asked]
    identity = keys["auth"].identity
    assert second is not None
    assert unseal(second, context=REFRESH_CONTEXT, identity=identity) == "old"
    assert first is None
    assert third is None


async def test_another_site_s_page_ends_no_session(bridge: Bridge, auth: Auth) -> None:
    await sign_in(bridge, cookie="refresh_token=old", origin="https://elsewhere.example")

    assert [each.sealed_refresh_token for each in auth.asked] == [None]
