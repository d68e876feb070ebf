"""The client for code that is not ``async``, over the in-memory broker."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import assert_type

import pytest

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.errors import InvalidCredentials, OutcomeUnknown, ReplyTimeout
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handler
from postroad.runtime.blocking import BlockingClient
from postroad.security.keyring import KeyRing
from postroad.security.keys import KeyFileError
from postroad.settings import MessagingSettings
from postroad.testing import calling, serving
from postroad.topology.definitions import Definitions
from tests.support.auth import at_once
from tests.support.brokers import MemoryUnderTest
from tests.support.services import SESSION, SIGN_IN, sign_in

ROOT = Path(__file__).parents[3]

Connect = Callable[[MessagingSettings | None], AbstractAsyncContextManager[Client]]
Connects = Callable[[Handler], Connect]


@pytest.fixture
def connects(topology: Definitions, keys: dict[str, KeyRing]) -> Connects:
    """Give ways to a broker with one worker, whose handler the test gives."""

    def with_handler(handler: Handler) -> Connect:
        @asynccontextmanager
        async def connect(_: MessagingSettings | None) -> AsyncIterator[Client]:
            broker = MemoryUnderTest(topology)
            async with (
                serving(broker, keys["auth"], {CreateSession: handler}, drain_timeout_s=0),
                calling(broker, keys["bridge"]) as client,
            ):
                yield client

        return connect

    return with_handler


@pytest.fixture
def client(connects: Connects) -> Iterator[BlockingClient]:
    with BlockingClient(connect=connects(sign_in)) as client:
        yield client


async def never(request: CreateSession) -> Session:
    await asyncio.Event().wait()
    return SESSION


def test_a_call_gives_the_typed_reply(client: BlockingClient) -> None:
    session = client.call(SIGN_IN)

    assert_type(session, Session)
    assert session == SESSION


def test_an_error_is_raised_as_it_is_by_the_other_client(connects: Connects) -> None:
    async def refuse(request: CreateSession) -> Session:
        raise InvalidCredentials("not the password")

    with (
        BlockingClient(connect=connects(refuse)) as client,
        pytest.raises(InvalidCredentials, match="not the password"),
    ):
        client.call(SIGN_IN)


def test_a_call_ends_at_its_deadline(connects: Connects) -> None:
    with BlockingClient(connect=connects(never)) as client, pytest.raises(ReplyTimeout):
        client.call(SIGN_IN, timeout_s=0.05)


def test_threads_share_one_client_and_get_each_their_own_reply(connects: Connects) -> None:
    async def echo(request: CreateSession) -> Session:
        return SESSION.model_copy(update={"access_token": request.username})

    def call(number: int) -> str:
        request = CreateSession(username=f"user-{number}", sealed_password="x")
        return shared.call(request).access_token

    shared = BlockingClient(connect=connects(echo))  # each thread may be the first to call
    tokens = at_once(8, call)
    shared.close()

    assert tokens == [f"user-{number}" for number in range(8)]


def test_closing_ends_calls_of_other_threads(connects: Connects) -> None:
    asked = threading.Event()

    async def hold(request: CreateSession) -> Session:
        asked.set()
        return await never(request)

    client = BlockingClient(connect=connects(hold))
    outcomes: list[object] = []

    def call() -> None:
        try:
            client.call(SIGN_IN, timeout_s=30)
        except OutcomeUnknown as error:
            outcomes.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert asked.wait(5)
    client.close()
    thread.join(5)

    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown]


def test_a_closed_client_says_so_and_leaves_no_thread(connects: Connects) -> None:
    before = set(threading.enumerate())  # of other tests; they may end meanwhile
    with BlockingClient(connect=connects(sign_in)) as client:
        (thread,) = set(threading.enumerate()) - before

    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.call(SIGN_IN)


def test_what_keeps_it_from_connecting_is_raised_and_tried_again(connects: Connects) -> None:
    attempts: list[object] = []

    def connect(settings: MessagingSettings | None) -> AbstractAsyncContextManager[Client]:
        attempts.append(settings)
        if len(attempts) == 1:
            raise KeyFileError("cannot read the identity")
        return connects(sign_in)(settings)

    client = BlockingClient(connect=connect)
    with pytest.raises(KeyFileError, match="cannot read the identity"):
        client.call(SIGN_IN)

    assert client.call(SIGN_IN) == SESSION
    client.close()


LATE = """
import atexit, threading
from postroad import BlockingClient
from postroad.contracts.catalog import ListProducts

def call():
    if threading.current_thread() is not threading.main_thread():
        threading.main_thread().join()
    try:
        BlockingClient().call(ListProducts())
    except RuntimeError as error:
        print(error)

{begin}call{start}
"""


@pytest.mark.parametrize(
    ("begin", "start"), [("threading.Thread(target=", ").start()"), ("atexit.register(", ")")]
)
def test_a_first_call_after_the_main_thread_has_ended_says_so(begin: str, start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(begin=begin, start=start)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stdout == "too late to connect: the main thread has ended\n", done.stderr


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_connects_by_itself_and_not_by_its_parent(
    client: BlockingClient,
) -> None:
    child = os.fork()
    if child == 0:  # nothing of pytest's may run here
        status = 1
        signal.alarm(10)  # should it hang
        try:
            status = 0 if client.call(SIGN_IN) == SESSION else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert client.call(SIGN_IN) == SESSION
