"""Two hundred people sign in at once, while keys rotate and an auth worker is killed.

What each is answered is right, and what is told of it as events is what was answered. A worker
that is killed may have done what it had not answered: then the broker hands the request to the
other one, and it is done twice. So those few requests that it held may have two events each, and
their answer is the second.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time

import httpx
import jwt
import pytest
import pytest_asyncio

from auth_worker.settings import AuthMessagingSettings
from auth_worker.tables import outbox, sessions
from postroad.contracts.base import Event
from postroad.contracts.events import LoginFailed, LoginSucceeded
from postroad.ids import new_id
from postroad.security.rotation import LEAD_S
from postroad.testing import eventually
from postroad.topology.names import EVENTS_EXCHANGE, rpc_queue
from tests.e2e.spy import Spy, spying
from tests.e2e.system import System, running_system
from tests.support.auth import rows

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PEOPLE = 200
AFTER_ROTATION_S = 1.5
ANSWERED_WITHIN_S = 20.0
HELD_AT_MOST = AuthMessagingSettings.model_fields["prefetch"].default
KINDS: dict[str, type[LoginFailed | LoginSucceeded]] = {
    event.name: event for event in (LoginFailed, LoginSucceeded)
}


@dataclass(frozen=True)
class Asked:
    """One sign-in: what was asked and what was answered."""

    username: str
    is_right: bool
    request_id: str
    status: int
    token: str | None

    @property
    def session_id(self) -> str:
        claims = jwt.decode(self.token or "", options={"verify_signature": False})
        assert claims["sub"] == self.username
        return str(claims["sid"])


@dataclass
class Storm:
    """Everybody signs in again and again, with the right password and with a wrong one."""

    http: httpx.AsyncClient
    asked: list[Asked] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as people:
            for number in range(PEOPLE):
                people.create_task(self._come_back(number))

    async def _come_back(self, number: int) -> None:
        is_right = number % 2 == 0
        while not self.is_over:
            await self._sign_in(number, is_right=is_right)
            is_right = not is_right

    async def _sign_in(self, number: int, *, is_right: bool) -> None:
        # the wrong one is somebody else's right one
        password = password_of(number if is_right else (number + 1) % PEOPLE)
        request_id = new_id()
        response = await self.http.post(
            "/auth",
            json={"username": name_of(number), "password": password},
            headers={"X-Request-ID": request_id},
        )
        token = response.json().get("access_token")
        self.asked.append(Asked(name_of(number), is_right, request_id, response.status_code, token))


@dataclass
class Told:
    """The events of sign-ins, each once, by the request that they tell of."""

    succeeded: dict[str, list[LoginSucceeded]]
    failed: dict[str, list[LoginFailed]]

    def of(self, asked: Asked) -> list[Event]:
        return [*self.succeeded[asked.request_id], *self.failed[asked.request_id]]


def name_of(number: int) -> str:
    return f"reader-{number}"


def password_of(number: int) -> str:
    return f"the password of number {number}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system of this test's own: two auth workers, which let people try often."""
    async with running_system(
        tmp_path_factory.mktemp("busy"),
        BRIDGE_TIMEOUT_S=str(2 * ANSWERED_WITHIN_S),  # nobody is to be refused within half of it
        AUTH_ATTEMPTS_PER_USER="1000",
        AUTH_ATTEMPTS_PER_ADDRESS="10000",
        AUTH_OUTBOX_LEASE_S="2",
    ) as system:
        system.add_users({name_of(number): password_of(number) for number in range(PEOPLE)})
        system.supervisor.scale("auth_worker", 2)
        await eventually(lambda: system.consumers(rpc_queue("auth")) == 2, timeout_s=20)
        yield system


async def read_events(spy: Spy) -> Told:
    """Read what was told; an event that came twice counts once."""
    told = Told(defaultdict(list), defaultdict(list))
    known = set()
    for seen in await spy.look():
        if seen.properties.message_id in known:
            continue
        known.add(seen.properties.message_id)
        event = KINDS[seen.properties.type].model_validate_json(seen.body)
        if isinstance(event, LoginSucceeded):
            told.succeeded[seen.properties.correlation_id].append(event)
        else:
            told.failed[seen.properties.correlation_id].append(event)
    return told


def session_ids(system: System) -> list[str]:
    database = system.open_database()
    try:
        return [row.id for row in rows(database, sessions)]
    finally:
        database.close()


def waiting_events(system: System) -> int:
    database = system.open_database()
    try:
        return len(rows(database, outbox))
    finally:
        database.close()


async def test_no_answer_is_wrong_and_every_event_is_accounted_for(busy: System) -> None:
    async with (
        httpx.AsyncClient(
            base_url=busy.url,
            timeout=ANSWERED_WITHIN_S + 5,
            # given up well before the bridge closes it, which takes 5 s without a request
            limits=httpx.Limits(max_connections=PEOPLE, keepalive_expiry=1),
        ) as http,
        spying(busy, EVENTS_EXCHANGE, "auth.login.#") as spy,
    ):
        storm = Storm(http)

        async def disturb() -> None:
            await busy.command("keys", "rotate", "auth")
            active_at = time() + LEAD_S
            await eventually(lambda: len(storm.asked) > PEOPLE, timeout_s=ANSWERED_WITHIN_S)
            os.kill(busy.supervisor.pids("auth_worker")[0], signal.SIGKILL)
            await eventually(
                lambda: time() > active_at + AFTER_ROTATION_S,
                timeout_s=LEAD_S + AFTER_ROTATION_S + 1,
            )
            storm.is_over = True

        await asyncio.gather(storm.run(), disturb())
        await eventually(lambda: waiting_events(busy) == 0, timeout_s=15)
        told = await read_events(spy)

    assert busy.supervisor.crashes("auth_worker") == 1
    tokens = [each.token for each in storm.asked if each.token]
    assert len({jwt.get_unverified_header(token)["kid"] for token in tokens}) == 2

    right = [each for each in storm.asked if each.is_right]
    wrong = [each for each in storm.asked if not each.is_right]
    assert {each.status for each in right} == {200}
    assert {each.status for each in wrong} == {401}

    for each in right:
        assert not told.failed[each.request_id]
        assert [
            event.session_id
            for event in told.succeeded[each.request_id]
            if event.session_id == each.session_id
        ] == [each.session_id]
    for each in wrong:
        assert not told.succeeded[each.request_id]
        assert {event.reason for event in told.failed[each.request_id]} == {"wrong_password"}

    done_twice = [each for each in storm.asked if len(told.of(each)) > 1]
    assert len(done_twice) <= HELD_AT_MOST
    assert all(len(told.of(each)) == 2 for each in done_twice)

    begun = [event.session_id for events in told.succeeded.values() for event in events]
    assert sorted(begun) == sorted(session_ids(busy))
    asked_for = {each.request_id for each in storm.asked}
    assert {cid for cid, events in (told.succeeded | told.failed).items() if events} <= asked_for
