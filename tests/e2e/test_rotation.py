"""New keys for every service while requests run, and not one of them refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import time

import httpx
import jwt
import pytest
import pytest_asyncio

from postroad.ids import new_id
from postroad.security.keys import PURPOSES
from postroad.security.rotation import LEAD_S
from postroad.testing import eventually
from postroad.topology.names import EVENTS_EXCHANGE, REPLIES_EXCHANGE, RPC_EXCHANGE
from tests.e2e.spy import Spy, spying
from tests.e2e.system import System
from tests.support.letters import claims_of

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "a password for the tests"
SERVICES = ("auth", "bridge", "catalog")
NOTICED_S = 2.0  # services look at their files every second
READERS = 6

Outcomes = Counter[tuple[str, int]]
Ask = Callable[[], Awaitable[httpx.Response]]


class Load:
    """A user who never stops: reads products, signs in, refreshes, signs out."""

    def __init__(self, http: httpx.AsyncClient, username: str) -> None:
        self._http = http
        self._credentials = {"username": username, "password": PASSWORD}
        self._is_over = False
        self.outcomes: Outcomes = Counter()

    async def run(self, until: Awaitable[None]) -> None:
        """Ask on and on, until something else is done."""
        async with asyncio.TaskGroup() as asking:
            for _ in range(READERS):
                asking.create_task(self._read())
            asking.create_task(self._come_and_go())
            try:
                await until
            finally:
                self._is_over = True

    async def _read(self) -> None:
        token = await self.sign_in()
        while not self._is_over:
            await self._ask("GET", "/products/1", token)
            await self._ask("GET", "/auth/me", token)

    async def _come_and_go(self) -> None:
        while not self._is_over:
            signed_in = await self._post("/auth", self._credentials)
            held = {"refresh_token": signed_in["refresh_token"]}
            refreshed = await self._post("/auth/refresh", held)
            await self._ask("GET", "/products/2", refreshed["access_token"])
            await self._post("/auth/logout", {"refresh_token": refreshed["refresh_token"]})

    async def sign_in(self) -> str:
        return str((await self._post("/auth", self._credentials))["access_token"])

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, str]:
        response = await self._http.post(path, json=body)
        self.outcomes[path, response.status_code] += 1
        answer: dict[str, str] = response.raise_for_status().json()
        return answer

    async def _ask(self, method: str, path: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        response = await self._http.request(method, path, headers=headers)
        self.outcomes[path, response.status_code] += 1


def kids_in_use(system: System) -> dict[str, set[str]]:
    """Give the ids of the keys that each service uses now."""
    identities = {name: system.keys(name).identity for name in SERVICES}
    return {
        name: {identity.key(purpose).kid for purpose in PURPOSES}
        for name, identity in identities.items()
    }


async def kids_seen(spy: Spy, after: float) -> set[str]:
    """Give the ids of the keys that signed messages after a moment."""
    signatures = [claims_of(seen.headers["signature"]) for seen in await spy.look()]
    pairs = [claims["kid"] for claims in signatures if claims["iat"] > after]
    return {kid for pair in pairs for kid in pair.split(".")}


@pytest_asyncio.fixture(loop_scope="session")
async def http(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that keeps no cookie: a sign-out ends the session of the cookie, too."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(base_url=system.url, timeout=10, cookies=no_cookies) as http:
        yield http


async def test_keys_rotate_under_load_without_a_request_refused(
    http: httpx.AsyncClient, system: System
) -> None:
    username = f"reader-{new_id()}"
    system.add_user(username, PASSWORD)
    load = Load(http, username)
    before, old_token = kids_in_use(system), await load.sign_in()
    changed_at = 0.0

    async def rotate() -> None:
        nonlocal changed_at
        await system.command("keys", "rotate")
        await system.command("keys", "rotate", "catalog")  # again, before its new keys are in use
        changed_at = time() + LEAD_S + NOTICED_S
        await eventually(lambda: time() > changed_at + 1, timeout_s=LEAD_S + NOTICED_S + 2)

    async with (
        spying(system, RPC_EXCHANGE) as requests,
        spying(system, REPLIES_EXCHANGE) as replies,
        spying(system, EVENTS_EXCHANGE) as events,
    ):
        await load.run(rotate())
        new_token = await load.sign_in()
        seen = {
            "requests": await kids_seen(requests, changed_at),
            "replies": await kids_seen(replies, changed_at),
            "events": await kids_seen(events, changed_at),
        }

    now = kids_in_use(system)
    old, new = set[str]().union(*before.values()), set[str]().union(*now.values())
    assert {status for _, status in load.outcomes} == {200}, load.outcomes
    assert min(load.outcomes.values()) > 3, load.outcomes  # on a busy machine
    assert old.isdisjoint(new)
    assert all(seen.values())
    assert all(kids <= new for kids in seen.values()), seen
    assert jwt.get_unverified_header(old_token)["kid"] in before["auth"]
    assert jwt.get_unverified_header(new_token)["kid"] in now["auth"]
    for token in (old_token, new_token):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await http.get("/products/1", headers=headers)).status_code == 200
