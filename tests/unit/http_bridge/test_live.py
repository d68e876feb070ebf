"""The stream of what goes on: who gets it, until when, and what a slow reader costs."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic, time
from typing import Any

import pytest

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.asgi.stream import Stream
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.routes.live import live
from postroad.broker.interfaces import Broker
from postroad.contracts.errors import NotAuthenticated, NotAuthorised, Overloaded
from postroad.contracts.events import LoginSucceeded
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.token_verifier import Revocations
from postroad.testing import eventually
from postroad.testing.keys import token_text
from tests.support.bridges import make_test_backend
from tests.support.brokers import MemoryUnderTest

OPERATIONS = "catalog:read operations:read"


class Visitor:
    """A browser with a stream: reads when it wants to, and may go."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.messages: list[MutableMapping[str, Any]] = []

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.reads.wait()
        self.messages.append(message)

    def parts(self, name: str) -> list[Any]:
        """Give the data of the parts of one name."""
        bodies = [bytes(each.get("body", b"")).decode() for each in self.messages]
        start = f"event: {name}\ndata: "
        return [json.loads(body.removeprefix(start)) for body in bodies if body.startswith(start)]

    @property
    def is_at_the_end(self) -> bool:
        last = self.messages[-1] if self.messages else {}
        return last.get("type") == "http.response.body" and not last.get("more_body")


class Line:
    """The bridge's end: a watch of the in-memory broker, and who may see it."""

    def __init__(self, broker: Broker, keys: KeyRing, issuer: Identity) -> None:
        self.issuer = issuer
        self.revocations = Revocations()
        self._backend = make_test_backend(broker, keys, revocations=self.revocations)
        self.watch = self._backend.monitor

    async def ask(
        self, visitor: Visitor, *, method: str = "GET", token: bool = True, **claims: Any
    ) -> HttpResponse | Stream:
        text = token_text(self.issuer, **{"scope": OPERATIONS, **claims})
        headers = [(b"cookie", f"token={text}".encode())] if token else []
        scope = {
            "method": method,
            "path": "/live",
            "query_string": b"",
            "scheme": "http",
            "headers": headers,
        }
        return await live(HttpRequest.from_scope(scope, visitor.receive), self._backend)

    @asynccontextmanager
    async def showing(self, visitor: Visitor, **claims: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Stream to a visitor, who goes at the end."""
        response = await self.ask(visitor, **claims)
        sending = asyncio.create_task(response.send(visitor.send, "request-1"))
        yield sending
        visitor.gone.set()
        visitor.reads.set()
        await asyncio.wait_for(sending, 5)


@pytest.fixture
async def line(
    memory_broker: MemoryUnderTest, keys: dict[str, KeyRing], identities: dict[str, Identity]
) -> AsyncIterator[Line]:
    user = memory_broker.as_user("bridge")
    line = Line(user, keys["bridge"], identities["auth"])
    yield line
    await line.watch.close()


def note_logins(watch: BrokerMonitor, count: int) -> None:
    for number in range(count):
        event = LoginSucceeded(user_id=number, session_id="s", at=1.0, client_network=None)
        watch._note(event, f"user {number}")


async def test_nobody_sees_it_without_a_token_or_the_scope(line: Line) -> None:
    with pytest.raises(NotAuthenticated):
        await line.ask(Visitor(), token=False)
    with pytest.raises(NotAuthorised, match="operations:read"):
        await line.ask(Visitor(), scope="catalog:read")

    assert not line.watch.is_active


async def test_an_operator_is_told_again_and_again(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: len(visitor.parts("queues")) > 2)

    start = visitor.messages[0]
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, b"text/event-stream")
    assert visitor.messages[1]["body"].startswith(b"retry: ")
    assert [each["name"] for each in visitor.parts("queues")[-1]["queues"]] == [
        "rpc.auth",
        "rpc.catalog",
        "work.auth.audit",
        "work.catalog.sync",
    ]


async def test_an_event_is_told_once(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: visitor.parts("queues"))
        note_logins(line.watch, 2)
        await eventually(lambda: visitor.parts("events"))
        note_logins(line.watch, 1)
        await eventually(lambda: len(visitor.parts("events")) > 1)

    subjects = [[each["subject"] for each in part] for part in visitor.parts("events")]
    assert subjects == [["user 0", "user 1"], ["user 0"]]


async def test_a_slow_reader_is_told_the_latest_and_nothing_piles_up(line: Line) -> None:
    slow, quick = Visitor(), Visitor()

    async with line.showing(quick), line.showing(slow):
        await eventually(lambda: slow.parts("queues"))
        slow.reads.clear()
        for _ in range(10):
            note_logins(line.watch, 20)
            await line.watch.changed()
        await eventually(lambda: len(quick.parts("queues")) > 10)
        while_slow = len(slow.messages)
        slow.reads.set()
        await eventually(lambda: slow.parts("events"))

    numbers = [each["number"] for each in slow.parts("events")[0]]
    assert numbers == list(range(151, 201))
    assert len(quick.messages) > while_slow + 5


async def test_a_stream_ends_with_the_session(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor, sid="over"):
        await eventually(lambda: visitor.parts("queues"))
        line.revocations.add("over", time() + 60)

        await eventually(lambda: visitor.is_at_the_end)


async def test_a_stream_ends_with_the_token_even_if_nobody_reads(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor, exp=int(time()) + 2) as sending:
        await eventually(lambda: visitor.parts("queues"))
        visitor.reads.clear()

        await asyncio.wait_for(sending, 5)


async def test_a_stream_ends_when_the_bridge_does(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: visitor.parts("queues"))
        line.watch.stop()

        await eventually(lambda: visitor.is_at_the_end)


async def test_the_broker_is_left_alone_when_the_last_visitor_has_gone(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: line.watch.is_active)

    await eventually(lambda: not line.watch.is_active)


async def test_there_is_not_room_for_everybody(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http_bridge.calls.broker_monitor.LISTENERS_MAX", 1)
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: visitor.parts("queues"))
        with pytest.raises(Overloaded):
            await line.ask(Visitor())

    assert isinstance(await line.ask(Visitor()), Stream)


async def test_one_user_does_not_take_the_room_of_all(line: Line) -> None:
    async with AsyncExitStack() as streams:
        for _ in range(4):
            await streams.enter_async_context(line.showing(visitor := Visitor(), user_id=7))
            await eventually(lambda: visitor.parts("queues"))

        with pytest.raises(Overloaded, match="this user listens 4 times already"):
            await line.ask(Visitor(), user_id=7)
        assert isinstance(await line.ask(Visitor(), user_id=8), Stream)

    assert isinstance(await line.ask(Visitor(), user_id=7), Stream)


async def test_who_asks_many_times_at_once_takes_no_more_room(line: Line) -> None:
    answers = [line.ask(Visitor(), user_id=7) for _ in range(6)]

    found = await asyncio.gather(*answers, return_exceptions=True)

    assert [type(each) for each in found] == [Stream] * 4 + [Overloaded] * 2


async def test_a_stream_ends_when_nobody_knows_any_more_who_may_see_it(line: Line) -> None:
    visitor = Visitor()

    async with line.showing(visitor):
        await eventually(lambda: visitor.parts("queues"))
        line.revocations.known_until = monotonic() - 1

        await eventually(lambda: visitor.is_at_the_end)


async def test_head_is_answered_at_once(line: Line) -> None:
    response = await line.ask(Visitor(), method="HEAD")

    assert isinstance(response, HttpResponse)
    assert not line.watch.is_active
