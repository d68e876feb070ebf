"""`postroad dead-letters` on a running broker: looking, putting back, setting aside, deleting."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pika
import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from ops import dead_letters, grants, services
from ops.acting import OPERATOR, settings_as
from ops.broker import PrivateBroker
from ops.ports import LOOPBACK
from ops.provision import provision
from ops.state import State
from shared.contracts.catalog import FetchPage
from shared.contracts.events import LoginFailed
from shared.messaging.background import ATTEMPT, BackgroundWorker
from shared.messaging.envelope import Signer, Verifier, read_signature
from shared.messaging.ids import new_id
from shared.messaging.keyring import KeyRing
from shared.messaging.keys import Identity
from shared.messaging.names import (
    EVENTS,
    QUARANTINE,
    RPC,
    VHOST,
    WORK,
    dead_queue,
    rpc_queue,
    work_queue,
)
from shared.messaging.rabbitmq import RabbitBroker
from shared.messaging.services import load_services
from shared.messaging.topology import with_passwords
from shared.settings import MessagingSettings
from tests.nodes import ADMIN, ADMIN_PASSWORD
from tests.waiting import eventually

pytestmark = pytest.mark.integration

SYNC, AUDIT, ASKED = work_queue("catalog", "sync"), work_queue("auth", "audit"), rpc_queue("auth")
DEAD_SYNC = dead_queue(SYNC)
JOB = FetchPage(sync_id="s", skip=0, limit=10).model_dump_json().encode()
EVENT = (
    LoginFailed(user_id=None, reason="unknown_user", at=0.0, client_network=None)
    .model_dump_json()
    .encode()
)

# killed as by `kill -9` when it is about to ack what the broker has confirmed elsewhere
KILLED_BEFORE_ITS_ACK = """
import os, signal, sys
from shared.messaging.consumer import RabbitDelivery

acks = 0
def ack(self, ack=RabbitDelivery.ack):
    global acks
    acks += 1
    if acks == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    ack(self)
RabbitDelivery.ack = ack

from ops.cli import main
sys.exit(main())
"""


class Running:
    """A broker in a state folder, as `postroad up` leaves it, and ways to fill its queues."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        with self.state.held("tests"):
            wanted = provision(self.state, load_services(services.SERVICES_FILE))
        admin = {"users": [{"name": ADMIN, "tags": []}]}
        wanted["users"] += with_passwords(admin, {ADMIN: ADMIN_PASSWORD})["users"]
        wanted["permissions"].append(
            {"user": ADMIN, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        )
        self.broker = PrivateBroker(self.state.broker_folder, wanted)

    def connect(self, user: str = ADMIN) -> pika.BlockingConnection:
        password = ADMIN_PASSWORD if user == ADMIN else self.state.password(user)
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                host=LOOPBACK,
                port=self.broker.ports.amqp,
                virtual_host=VHOST,
                credentials=pika.PlainCredentials(user, password),
            )
        )

    def keys(self, service: str) -> KeyRing:
        return KeyRing.load(self.state.identity_file(service), self.state.trust_file)

    def depth(self, queue: str) -> int:
        with self.connect() as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)

    def comes_to(self, queue: str, depth: int) -> None:
        """Wait until so many are in a queue: what a command let go is back a moment later."""
        asyncio.run(eventually(lambda: self.depth(queue) == depth))

    def take_all(self, queue: str) -> list[tuple[BasicProperties, bytes]]:
        """Take everything out of a queue."""
        taken = []
        with self.connect() as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                taken.append((got[1], got[2]))
        return taken

    def empty(self) -> None:
        with self.connect() as connection:
            for queue in (DEAD_SYNC, dead_queue(AUDIT), dead_queue(ASKED), QUARANTINE, SYNC, AUDIT):
                connection.channel().queue_purge(queue)

    def bury(self, count: int = 1, *, sender: str = "catalog", **changes: Any) -> list[str]:
        """Let jobs, or events of ``auth``, die in their queue; give their ids, in order."""
        ids = [new_id() for _ in range(count)]
        queue = SYNC if sender == "catalog" else AUDIT
        with self.connect(sender) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for message_id in ids:
                self._publish(channel, sender, message_id, **changes)
            for _ in ids:
                method, _, _ = next(channel.consume(queue))
                channel.basic_reject(method.delivery_tag, requeue=False)
            channel.cancel()
        asyncio.run(eventually(lambda: self._holds(dead_queue(queue), ids)))
        return ids

    def _publish(
        self,
        channel: BlockingChannel,
        sender: str,
        message_id: str,
        *,
        signed_at: float | None = None,
        signs: Callable[[Signer, str], str | None] | None = None,
        headers: dict[str, Any] | None = None,
        body: bytes | None = None,
    ) -> None:
        is_job = sender == "catalog"
        content = body or (JOB if is_job else EVENT)
        name = FetchPage.name if is_job else LoginFailed.name
        signer = Signer(self.keys(sender), clock=time if signed_at is None else lambda: signed_at)
        given: dict[str, Any] = {
            "name": name,
            "body": content,
            "message_id": message_id,
            "correlation_id": "c",
        }
        if signs is not None:
            signature = signs(signer, message_id)
        elif is_job:
            signature = signer.job(audience="catalog", **given)
        else:
            signature = signer.event(**given)
        properties = BasicProperties(
            headers={"signature": signature, **(headers or {})} if signature else headers,
            message_id=message_id,
            type=name,
            user_id=sender,
            delivery_mode=2,
        )
        channel.basic_publish(WORK if is_job else EVENTS, name, content, properties, mandatory=True)

    def _holds(self, queue: str, ids: list[str]) -> bool:
        """Say whether these are in a queue of dead letters: they get there a moment later."""
        with self.connect() as connection:
            channel = connection.channel()
            found = set()
            while (got := channel.basic_get(queue))[0] is not None:
                found.add(got[1].message_id)
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.queue_declare(queue, passive=True)
        return set(ids) <= found

    def bury_request(self) -> None:
        """Let a request die in its queue."""
        with self.connect("bridge") as connection:
            channel = connection.channel()
            properties = BasicProperties(
                message_id="asked", user_id="bridge", headers={"authorization": "a.users.token"}
            )
            body = b'{"username": "reader", "sealed_password": "xyzzy", "nested": [{"token": "t"}]}'
            channel.basic_publish(RPC, "auth.sessions.create", body, properties)
        with self.connect("auth") as connection:
            channel = connection.channel()
            method, _, _ = next(channel.consume(ASKED))
            channel.basic_reject(method.delivery_tag, requeue=False)
            channel.cancel()
        asyncio.run(eventually(lambda: self._holds(dead_queue(ASKED), ["asked"])))

    def noted(self) -> list[dict[str, Any]]:
        """Read what the audit says."""
        log = self.state.dead_letters_log
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("state"))
    asyncio.run(running.broker.start())
    running.state.write_running(grants.addresses("", running.broker))
    try:
        settings_as(running.state, OPERATOR)
        yield running
    finally:
        running.broker.kill()


@pytest.fixture
def running(started: Running) -> Running:
    started.empty()
    started.state.dead_letters_log.unlink(missing_ok=True)
    return started


@pytest.fixture
def command(running: Running) -> Callable[..., int]:
    """Run the command, and give its exit status."""

    def run(*arguments: str) -> int:
        parser = ArgumentParser()
        dead_letters.add_arguments(parser)
        state = ["--state", str(running.state.folder)]
        return dead_letters.run(parser.parse_args([*arguments, *state]))

    return run


Command = Callable[..., int]
Captured = pytest.CaptureFixture[str]


# looking


def test_nothing_to_look_at_is_good_news(command: Command, capsys: Captured) -> None:
    assert command("list") == 0
    assert capsys.readouterr().out == "no dead letters: all is well\n"


def test_the_list_counts_letters_that_are_alike(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(3)
    running.bury(2, signed_at=1.0)
    running.bury(1, sender="auth")
    running.bury_request()

    assert command("list") == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["QUEUE", "NAME", "REASON", "CALLER", "COUNT", "OLDEST", "NEWEST"]
    assert sorted(row[:5] for row in rows[1:]) == [
        ["dead.rpc.auth", "-", "unsigned", "bridge", "1"],
        ["dead.work.auth.audit", "auth.login.failed", "failed", "auth", "1"],
        ["dead.work.catalog.sync", "catalog.pages.fetch", "expired", "catalog", "2"],
        ["dead.work.catalog.sync", "catalog.pages.fetch", "failed", "catalog", "3"],
    ]


def test_looking_leaves_everything_where_it_is(
    running: Running, command: Command, capsys: Captured
) -> None:
    ids = running.bury(5)

    for _ in range(25):  # more often than RabbitMQ 4 delivers a message by default
        assert command("list", "--json") == 0
        seen = map(json.loads, capsys.readouterr().out.splitlines())
        assert {letter["id"] for letter in seen} == set(ids)

    left = running.take_all(DEAD_SYNC)
    assert {properties.message_id for properties, _ in left} == set(ids)


def test_letters_are_chosen_by_what_they_are(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(60)
    running.bury(40, signed_at=1.0)
    running.bury(1, signs=sign_nothing)
    running.bury(2, sender="auth")
    counts = {
        "": 103,
        "--queue work.catalog.sync": 101,
        "--queue dead.work.*": 103,
        "--queue quarantine": 0,
        "--name auth.login.*": 2,
        "--caller catalog": 101,
        "--reason expired": 40,
        "--reason failed --caller catalog": 60,
        "--reason unsigned": 1,
        "--older-than 1h": 0,
        "--newer-than 1h": 103,
        "--id nobody's": 0,
    }

    found = {}
    for arguments in counts:
        assert command("list", "--json", *arguments.split()) == 0
        found[arguments] = len(capsys.readouterr().out.splitlines())

    assert found == counts


def test_one_letter_is_shown_whole_but_for_secrets(
    running: Running, command: Command, capsys: Captured
) -> None:
    (message_id,) = running.bury()

    assert command("show", message_id) == 0

    shown = capsys.readouterr().out
    assert f"{message_id} in {DEAD_SYNC}, died " in shown
    assert "its handler failed for good" in shown
    assert "the service that signed" in shown
    assert '"sync_id": "s"' in shown
    assert "It can go back to work" in shown


def test_no_secret_is_shown(running: Running, command: Command, capsys: Captured) -> None:
    running.bury_request()

    assert command("show", "--n", "1") == 0

    shown = capsys.readouterr().out
    assert "Refused: unsigned" in shown
    assert '"username": "reader"' in shown
    assert "its caller has long gone" in shown
    for secret in ("xyzzy", "a.users.token", '"t"'):
        assert secret not in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "--n", "1"), "there is no such dead letter"),
        (("show",), "which one?"),
        (("redrive", "some-id"), "take --id ID"),
        (("list", "--queue", "work.none.*"), "no queue of dead letters is like"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    running: Running,
    command: Command,
    capsys: Captured,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    assert command(*arguments) == 1

    err = capsys.readouterr().err
    assert err.startswith("postroad: ")
    assert complaint in err
    assert err.count("\n") == 1


# putting back


def test_without_yes_it_only_says_what_it_would_do(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(12)

    assert command("redrive") == 0

    assert capsys.readouterr().out == (
        "12 messages would go back to work.catalog.sync\nrun it again with --yes\n"
    )
    running.comes_to(DEAD_SYNC, 12)
    assert running.depth(SYNC) == 0
    assert not running.noted()


def test_what_is_put_back_is_done_by_a_worker(
    running: Running, command: Command, capsys: Captured
) -> None:
    ids = running.bury(3)
    ids += running.bury(2, signed_at=1.0)  # the old signature would not do

    assert command("redrive", "--yes") == 0

    assert "redriven: 5 messages back to work.catalog.sync" in capsys.readouterr().out
    assert asyncio.run(worked_off(running, count=5)) == {"ok": 5, "done": 5}
    assert running.depth(DEAD_SYNC) == 0
    assert [line["message_id"] for line in running.noted()] == ids
    assert {(line["what"], line["name"]) for line in running.noted()} == {
        ("redriven", FetchPage.name)
    }
    assert all(line["who"] and line["time"] for line in running.noted())


async def worked_off(running: Running, count: int) -> dict[str, int]:
    """Let the catalogue's own kind of worker empty its queue; give what it counted."""
    settings = MessagingSettings(
        broker_urls=(f"amqp://{running.broker.address}/{VHOST}",),
        broker_password_file=running.state.password_file("catalog"),
        identity_file=running.state.identity_file("catalog"),
        trust_file=running.state.trust_file,
    )
    broker = RabbitBroker(settings, "catalog")
    publisher = broker.publisher()
    await publisher.start()
    done: list[FetchPage] = []
    worker = BackgroundWorker(
        "sync",
        {FetchPage: done.append},
        broker=broker,
        publisher=publisher,
        keys=running.keys("catalog"),
    )
    await worker.start()
    await eventually(lambda: len(done) == count)
    await worker.drain(2.0)
    await publisher.close()
    return dict(worker.counts)


def test_no_more_than_the_limit_go_the_oldest_first(running: Running, command: Command) -> None:
    ids = running.bury(6)

    assert command("redrive", "--limit", "2", "--yes") == 0

    gone = [properties.message_id for properties, _ in running.take_all(SYNC)]
    assert len(gone) == 2
    running.comes_to(DEAD_SYNC, 4)
    assert set(gone) < set(ids)


def test_they_go_no_faster_than_the_rate(running: Running, command: Command) -> None:
    running.bury(5)
    began = time()

    assert command("redrive", "--rate", "10", "--yes") == 0

    assert time() - began >= 0.4


def sign_nothing(_signer: Signer, _message_id: str) -> None:
    return None


def sign_another_body(signer: Signer, message_id: str) -> str:
    return signer.job(
        audience="catalog",
        name=FetchPage.name,
        body=JOB + b" ",
        message_id=message_id,
        correlation_id="c",
    )


def sign_as_a_stranger(signer: Signer, message_id: str) -> str:
    stranger = Identity.create("catalog")
    return sign_as(KeyRing(stranger, signer._keys.trust), message_id)


def sign_as(keys: KeyRing, message_id: str) -> str:
    return Signer(keys).job(
        audience="catalog",
        name=FetchPage.name,
        body=JOB,
        message_id=message_id,
        correlation_id="c",
    )


def sign_for_another(signer: Signer, message_id: str) -> str:
    return signer.job(
        audience="auth", name=FetchPage.name, body=JOB, message_id=message_id, correlation_id="c"
    )


DISHONEST = pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signs": sign_nothing}, "unsigned"),
        ({"signs": sign_another_body}, "bad_signature"),
        ({"signs": sign_as_a_stranger}, "unknown_key"),
        ({"signs": sign_for_another}, "wrong_audience"),
        ({"headers": {"CC": [FetchPage.name]}}, "carbon_copy"),
    ],
)


@DISHONEST
def test_what_was_never_honest_stays_whatever_the_force(
    running: Running, command: Command, capsys: Captured, changes: dict[str, Any], reason: str
) -> None:
    running.bury(**changes)

    assert command("redrive", "--yes", "--force") == 0

    assert capsys.readouterr().out == f"1 message stays: {reason}\n"
    running.comes_to(DEAD_SYNC, 1)
    assert running.depth(SYNC) == 0


@DISHONEST
def test_the_quarantine_makes_nothing_honest(
    running: Running, command: Command, capsys: Captured, changes: dict[str, Any], reason: str
) -> None:
    running.bury(**changes)
    assert command("quarantine", "--yes") == 0
    capsys.readouterr()

    assert command("redrive", "--yes", "--force") == 0

    assert capsys.readouterr().out == f"1 message stays: {reason}\n"
    running.comes_to(QUARANTINE, 1)
    assert running.depth(SYNC) == 0


def test_a_signature_of_a_retired_key_will_do(running: Running, command: Command) -> None:
    running.bury(signed_at=time() - 60)
    trust = json.loads(running.state.trust_file.read_text())
    for key in trust["services"]["catalog"]["keys"]:
        key["retires_at"] = time() - 1
    before = running.state.trust_file.read_text()
    running.state.write_trust(trust)
    try:
        assert command("redrive", "--yes") == 0
    finally:
        running.state.trust_file.write_text(before)

    running.comes_to(SYNC, 1)


def test_so_will_one_that_its_reader_accepted_once(running: Running, command: Command) -> None:
    running.bury(signs=sign_as_a_stranger, headers={ATTEMPT: 5})

    assert command("redrive", "--yes") == 0

    running.comes_to(SYNC, 1)


def test_what_breaks_its_contract_may_go_to_a_newer_worker(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(body=b'{"sync_id": 1}')

    assert command("redrive", "--reason", "invalid_request", "--yes") == 0

    running.comes_to(SYNC, 1)


def test_what_comes_back_three_times_stays_unless_forced(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury()
    for _ in range(3):
        assert command("redrive", "--yes") == 0
        die_again(running)

    assert command("redrive", "--yes") == 0
    assert "1 message stays: redriven 3 times already (--force)" in capsys.readouterr().out
    running.comes_to(DEAD_SYNC, 1)

    assert command("redrive", "--yes", "--force") == 0
    ((properties, _),) = running.take_all(SYNC)
    assert read_signature(properties.headers["signature"]).claims.nth == 4


def die_again(running: Running) -> None:
    with running.connect("catalog") as connection:
        channel = connection.channel()
        method, _, _ = next(channel.consume(SYNC))
        channel.basic_reject(method.delivery_tag, requeue=False)
        channel.cancel()
    running.comes_to(DEAD_SYNC, 1)


def test_requests_are_not_put_back(running: Running, command: Command, capsys: Captured) -> None:
    running.bury_request()

    assert command("redrive", "--queue", "rpc.auth", "--yes") == 0

    assert "1 message stays: a request: its caller has long gone" in capsys.readouterr().out
    running.comes_to(dead_queue(ASKED), 1)


def test_killed_half_way_nothing_is_lost_and_a_second_one_has_the_same_id(
    running: Running, command: Command
) -> None:
    ids = running.bury(5)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_ITS_ACK, "dead-letters", "redrive", "--yes"],
        env=os.environ | {"POSTROAD_STATE": str(running.state.folder)},
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    running.comes_to(SYNC, 3)
    asyncio.run(eventually(lambda: running.depth(DEAD_SYNC) >= 3))  # the broker has them back

    assert command("redrive", "--yes") == 0

    gone = running.take_all(SYNC)
    assert running.depth(DEAD_SYNC) == 0
    found = [properties.message_id for properties, _ in gone]
    assert set(found) == set(ids)
    verifier = Verifier(running.keys("catalog"))
    signed = {
        verifier.verify(properties.headers["signature"], body, typ="job", is_work=True).jti
        for properties, body in gone
    }
    assert signed == set(ids)
    assert set(ids) <= {line["message_id"] for line in running.noted()}


# setting aside, and deleting


def test_what_is_in_quarantine_can_be_looked_at_and_put_back(
    running: Running, command: Command, capsys: Captured
) -> None:
    (message_id,) = running.bury(signed_at=1.0)
    assert command("quarantine", "--id", message_id, "--yes") == 0
    capsys.readouterr()

    assert command("list", "--json") == 0
    (letter,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (letter["queue"], letter["died_in"], letter["reason"], letter["caller"]) == (
        *(QUARANTINE, SYNC, "expired", "catalog"),
    )

    assert command("redrive", "--queue", QUARANTINE, "--yes") == 0
    assert asyncio.run(worked_off(running, count=1)) == {"ok": 1, "done": 1}
    assert running.depth(QUARANTINE) == 0
    assert [line["what"] for line in running.noted()] == ["quarantined", "redriven"]


def test_purging_wants_a_yes(running: Running, command: Command, capsys: Captured) -> None:
    running.bury(2)
    running.bury(1, sender="auth")

    assert command("purge", "--caller", "catalog") == 0
    assert capsys.readouterr().out == (
        "2 messages would be deleted from dead.work.catalog.sync for good\n"
        "run it again with --yes\n"
    )
    running.comes_to(DEAD_SYNC, 2)

    assert command("purge", "--caller", "catalog", "--yes") == 0
    assert running.depth(DEAD_SYNC) == 0
    running.comes_to(dead_queue(AUDIT), 1)
    assert [line["what"] for line in running.noted()] == ["purged", "purged"]


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1), ("n", 1)])
def test_at_a_terminal_purging_asks(
    running: Running,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
) -> None:
    running.bury()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: answer)

    assert command("purge") == 0

    running.comes_to(DEAD_SYNC, left)
