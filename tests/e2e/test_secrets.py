"""Passwords and refresh tokens are readable by nobody between the client and the auth worker."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from postroad.contracts.auth import CreateSession, EndSession, RefreshSession
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.ids import new_id
from postroad.testing import eventually
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    REPLIES_EXCHANGE,
    RPC_EXCHANGE,
    dead_queue,
    rpc_queue,
)
from tests.e2e.spy import Spy, spying, take_all
from tests.e2e.system import System
from tests.support.brokers import Seen

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

AUTH = rpc_queue("auth")
USED = {contract.method for contract in (CreateSession, RefreshSession, EndSession)}
TOLD = {event.name for event in (LoginSucceeded, LoginFailed, SessionRevoked)}


@dataclass(frozen=True)
class Story:
    """What a client kept secret, and what went through the broker meanwhile."""

    secrets: dict[str, str]
    requests: list[Seen]
    replies: list[Seen]
    events: list[Seen]
    dead: list[Seen]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(system: System) -> AsyncIterator[Story]:
    """Somebody signs in, mistypes the password, refreshes, signs out; a request is refused."""
    mark = new_id()
    username = f"reader-{mark}"
    secrets = {"password": f"the right one {mark}", "wrong password": f"a wrong one {mark}"}
    system.add_user(username, secrets["password"])
    async with AsyncExitStack() as spies:
        requests, replies, events = [
            await spies.enter_async_context(spying(system, exchange))
            for exchange in (RPC_EXCHANGE, REPLIES_EXCHANGE, EVENTS_EXCHANGE)
        ]
        async with httpx.AsyncClient(base_url=system.url, timeout=10) as http:
            await sign_in(http, username, secrets["wrong password"], expected=401)
            await steal(system, requests, replies)
            signed_in = await sign_in(http, username, secrets["password"], expected=200)
            await steal(system, requests, replies)
            secrets["first refresh token"] = signed_in["refresh_token"]
            held = {"refresh_token": signed_in["refresh_token"]}
            refreshed = (await http.post("/auth/refresh", json=held)).raise_for_status().json()
            await steal(system, requests, replies)
            secrets["second refresh token"] = refreshed["refresh_token"]
            held = {"refresh_token": refreshed["refresh_token"]}
            (await http.post("/auth/logout", json=held)).raise_for_status()
            await steal(system, requests, replies)
        dead = await refused_copies(system, requests.seen)
        for spy, types in ((requests, USED), (replies, USED), (events, TOLD)):
            await eventually(partial(has_seen, spy, types))
        yield Story(secrets, requests.seen, replies.seen, events.seen, dead)


async def sign_in(
    http: httpx.AsyncClient, username: str, password: str, *, expected: int
) -> dict[str, str]:
    response = await http.post("/auth", json={"username": username, "password": password})
    assert response.status_code == expected, response.text
    http.cookies.clear()
    answer: dict[str, str] = response.json()
    return answer


async def has_seen(spy: Spy, types: set[str]) -> bool:
    return types <= {seen.properties.type for seen in await spy.look()}


async def steal(system: System, requests: Spy, replies: Spy) -> None:
    """Read what went by and send requests again, before they expire, in the bridge's place."""
    known = len(requests.seen)
    copies = (await requests.look())[known:]
    with system.connect("bridge") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for copy in copies:
            if copy.properties.type in USED:
                channel.basic_publish(
                    RPC_EXCHANGE, copy.properties.type, copy.body, copy.properties
                )
    await replies.look()


async def refused_copies(system: System, requests: list[Seen]) -> list[Seen]:
    """Find the requests that were sent a second time refused."""
    copies = [seen for seen in requests if seen.properties.type in USED]
    dead: list[Seen] = []

    async def are_dead() -> bool:
        dead.extend(await asyncio.to_thread(take_all, system, dead_queue(AUTH)))
        ids = {seen.properties.message_id for seen in dead}
        return {copy.properties.message_id for copy in copies} <= ids

    await eventually(are_dead)
    return dead


def spellings(secret: str) -> Iterator[bytes]:
    """Give the ways in which a secret would still be readable."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for shift in range(3):  # base64 of anything that holds it
        inner = base64.b64encode(b"x" * shift + raw)[4 if shift else 0 : -4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def readable(secrets: dict[str, str], text: bytes) -> list[str]:
    return [
        name
        for name, secret in secrets.items()
        if any(spelling in text for spelling in spellings(secret))
    ]


@pytest.mark.parametrize("place", ["requests", "replies", "events", "dead"])
async def test_no_message_shows_a_secret(story: Story, place: str) -> None:
    messages: list[Seen] = getattr(story, place)

    found = {
        str(seen.properties.type): names
        for seen in messages
        if (names := readable(story.secrets, seen.body + repr(seen.properties).encode()))
    }

    assert messages
    assert not found


async def test_neither_log_nor_database_nor_any_other_file_shows_a_secret(
    story: Story, system: System
) -> None:
    files = [path for path in system.state.folder.rglob("*") if path.is_file()]

    found = {path.name: names for path in files if (names := readable(story.secrets, read(path)))}

    assert {"services.log", "users.db", "broker.log"} <= {path.name for path in files}
    assert not found


def read(path: Path) -> bytes:
    """Read a file, unless it has gone since, as those of a running broker do."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


async def test_no_event_says_more_of_a_client_than_its_network(story: Story) -> None:
    told = b"".join(seen.body for seen in story.events)

    assert b"127.0.0.0/24" in told
    assert b"127.0.0.1" not in told


async def test_a_secret_would_be_found_however_it_is_written() -> None:
    secret = "the right one 0123456789"
    written = [
        secret.encode(),
        secret.encode().hex().encode(),
        *(base64.b64encode(b"." * length + secret.encode() + b"more") for length in range(7)),
        base64.urlsafe_b64encode(b"{" + secret.encode()),
    ]

    assert all(readable({"password": secret}, text) == ["password"] for text in written)
