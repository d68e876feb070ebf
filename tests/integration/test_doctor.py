"""`postroad doctor` on a running broker: nothing is wrong, then this and that is."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar

import pika
import pytest

from ops.commands.dispatch import run_command
from ops.commands.provision import provision
from ops.health import releases
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK, is_listening
from ops.local.running import addresses
from ops.services import grants
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.testing import eventually
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    REPLIES_EXCHANGE,
    RPC_EXCHANGE,
    VHOST,
    rpc_queue,
)
from postroad.topology.services import Service

pytestmark = pytest.mark.integration

FINE = [
    "files",
    "keys",
    "disk",
    "broker",
    "topology",
    "policies",
    "rights",
    "queues",
    "clock",
    "bridge",
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateFolder:
    return StateFolder(tmp_path_factory.mktemp("state"))


class Readiness(BaseHTTPRequestHandler):
    """What answers as the bridge does that ``problem`` says."""

    problem: ClassVar[str | None] = None

    def do_GET(self) -> None:
        self.send_response(503 if self.problem else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"detail": self.problem}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    """The address of what answers in place of the bridge."""
    with HTTPServer((LOOPBACK, 0), Readiness) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def broker(state: StateFolder, bridge: str) -> Iterator[PrivateBroker]:
    """A broker as `postroad up` starts it, with somebody who answers."""
    with state.held("tests"):
        wanted = provision(state, our_services())
    broker = PrivateBroker(state.broker_folder, wanted, management=True)
    asyncio.run(broker.start())
    try:
        with ExitStack() as connections:
            connections.enter_context(state.held("tests"))
            state.write_running(addresses(bridge, broker))
            asyncio.run(eventually(lambda: is_listening(broker.ports.management), timeout_s=30))
            for service in ("auth", "catalog"):
                credentials = pika.PlainCredentials(service, state.password(service))
                parameters = pika.ConnectionParameters(
                    LOOPBACK, broker.ports.amqp, VHOST, credentials
                )
                connection = connections.enter_context(pika.BlockingConnection(parameters))
                channel = connection.channel()
                channel.basic_consume(rpc_queue(service), lambda *_: None)
            _be_a_client(connections, broker, state)
            yield broker
    finally:
        broker.kill()


def _be_a_client(connections: ExitStack, broker: PrivateBroker, state: StateFolder) -> None:
    """Have queues of one's own, as the bridge does."""
    channel = connections.enter_context(connect(state, broker, "bridge")).channel()
    for exchange, key in (
        (REPLIES_EXCHANGE, "reply.bridge.x"),
        (EVENTS_EXCHANGE, SessionRevoked.name),
    ):
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
        channel.queue_bind(queue, exchange, key)


@pytest.fixture
def looked(
    state: StateFolder, broker: PrivateBroker, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, dict[str, Any]]]:
    """Run the command; give its exit status and what it found."""

    def look() -> tuple[int, dict[str, Any]]:
        status = run_command(["doctor", "--json", "--state", str(state.folder)])
        return status, json.loads(capsys.readouterr().out)

    return look


Looked = Callable[[], tuple[int, dict[str, Any]]]


def test_a_running_system_is_well(looked: Looked) -> None:
    status, found = looked()

    del found["warnings"]
    assert (status, found) == (0, {"fine": FINE, "findings": [], "unseen": []})


def test_a_release_out_of_support_is_a_warning_and_no_failure(
    broker: PrivateBroker, state: StateFolder, looked: Looked, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = releases.out_of_support(broker.version, datetime.now(UTC).date())

    status, found = looked()
    run_command(["doctor", "--state", str(state.folder)])

    shown = capsys.readouterr().out
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", broker.version)
    assert [warning["problem"] for warning in found["warnings"]] == ([ended] if ended else [])
    assert status == 0
    assert [line for line in shown.splitlines() if line.startswith("-")] == (
        [f"-   broker: {ended} -> plan for a newer one: docs/compatibility.md"] if ended else []
    )


def test_a_database_that_cannot_be_written_is_named(
    looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Readiness, "problem", "auth: the database is read-only")

    status, found = looked()

    assert status == 1
    assert [each["check"] for each in found["findings"]] == ["bridge"]
    assert "auth: the database is read-only" in found["findings"][0]["problem"]


def test_what_somebody_changed_by_hand_is_found(broker: PrivateBroker, looked: Looked) -> None:
    async def meddle() -> None:
        await broker.ctl("add_user", "guest", "guest")
        await broker.ctl("set_permissions", "-p", VHOST, "bridge", ".*", ".*", ".*")
        await broker.ctl("clear_policy", "-p", VHOST, "dead")
        await broker.ctl("delete_queue", "-p", VHOST, "dead.work.auth.audit")

    asyncio.run(meddle())

    status, found = looked()

    assert status == 1
    problems = {finding["problem"].partition(" is ")[0] for finding in found["findings"]}
    assert {
        "the user guest",
        "permissions of bridge: write",
        "the policy dead",
        "the queue dead.work.auth.audit",
    } <= problems
    assert found["unseen"] == []


def connect(state: StateFolder, broker: PrivateBroker, service: str) -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(service, state.password(service))
    return pika.BlockingConnection(
        pika.ConnectionParameters(LOOPBACK, broker.ports.amqp, VHOST, credentials)
    )


def test_what_a_service_left_at_the_broker_is_found(
    state: StateFolder, broker: PrivateBroker, looked: Looked
) -> None:
    event = LoginSucceeded.name
    with connect(state, broker, "bridge") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", durable=True).method.queue
        channel.exchange_bind(RPC_EXCHANGE, EVENTS_EXCHANGE, event)

        _, found = looked()

    problems = {finding["problem"].partition(" is ")[0] for finding in found["findings"]}
    assert {
        f"the queue {queue}",
        f"the binding of the exchange {RPC_EXCHANGE} to {EVENTS_EXCHANGE} by {event}",
    } <= problems


def test_what_a_revoked_service_left_is_deleted_and_said(
    state: StateFolder,
    broker: PrivateBroker,
    looked: Looked,
    capsys: pytest.CaptureFixture[str],
) -> None:
    event, address = LoginFailed.name, 'reply.shop."]).'
    shop = Service(calls=("catalog.products.*",), listens=(event,))
    asyncio.run(grants.add(state, "shop", shop))
    with connect(state, broker, "shop") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", durable=True).method.queue
        channel.exchange_bind(RPC_EXCHANGE, EVENTS_EXCHANGE, event)
        channel.queue_bind(rpc_queue("catalog"), EVENTS_EXCHANGE, event, {"x": "y"})
        channel.queue_bind(rpc_queue("catalog"), REPLIES_EXCHANGE, address)

    status = run_command(["services", "revoke", "shop", "--state", str(state.folder)])

    assert status == 0
    left = {
        f"the queue {queue}",
        f"the binding of the exchange {RPC_EXCHANGE} to {EVENTS_EXCHANGE} by {event}",
        f"the binding of the queue {rpc_queue('catalog')} to {EVENTS_EXCHANGE} by {event}",
        f"the binding of the queue {rpc_queue('catalog')} to {REPLIES_EXCHANGE} by {address}",
    }
    said = capsys.readouterr().out.splitlines()
    assert {f"deleted at the broker: {each}" for each in left} <= set(said)
    _, found = looked()
    problems = {finding["problem"].partition(" is ")[0] for finding in found["findings"]}
    assert not left & problems


def test_a_broker_that_has_gone_is_not_called_well(
    state: StateFolder, broker: PrivateBroker, bridge: str, looked: Looked
) -> None:
    state.write_running(addresses("", PrivateBroker(state.broker_folder)))  # not started

    status, found = looked()

    state.write_running(addresses(bridge, broker))
    assert status == 2
    (unseen,) = found["unseen"]
    assert "it is being started again" in unseen
    assert "postroad up" not in unseen
