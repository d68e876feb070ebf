"""A broker with dead letters in it, and a worker for what is put back."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import pika
import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from ops.commands.provision import provision
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from ops.terminal.logs import hide_logs
from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.events import LoginFailed
from postroad.contracts.syncs import FetchPage
from postroad.ids import new_id
from postroad.messaging.background_worker import BackgroundWorker
from postroad.messaging.rpc_worker import Worker
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.token_verifier import Revocations
from postroad.settings import MessagingSettings
from postroad.testing import eventually
from postroad.topology.definitions import with_passwords
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    QUARANTINE,
    RPC_EXCHANGE,
    VHOST,
    WORK_EXCHANGE,
    dead_queue,
    rpc_queue,
    work_queue,
)
from postroad.topology.services import Services
from tests.support.nodes import ADMIN, ADMIN_PASSWORD

SYNC, AUDIT, ASKED = work_queue("catalog", "sync"), work_queue("auth", "audit"), rpc_queue("auth")
DEAD_SYNC = dead_queue(SYNC)
JOB = FetchPage(sync_id="s", skip=0, limit=10).model_dump_json().encode()
EVENT = (
    LoginFailed(user_id=None, reason="unknown_user", at=0.0, client_network=None)
    .model_dump_json()
    .encode()
)

Command = Callable[..., int]
Captured = pytest.CaptureFixture[str]


class Running:
    """A broker in a state folder, as `postroad up` leaves it, and ways to fill its queues."""

    admin_tags: tuple[str, ...] = ()  # with any the broker has the management plugin

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder)
        with self.state.held("tests"):
            wanted = provision(self.state, self._services())
        admin = {"users": [{"name": ADMIN, "tags": self.admin_tags}]}
        wanted["users"] += with_passwords(admin, {ADMIN: ADMIN_PASSWORD})["users"]
        wanted["permissions"].append(
            {"user": ADMIN, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        )
        self.broker = PrivateBroker(
            self.state.broker_folder, wanted, management=bool(self.admin_tags)
        )

    def _services(self) -> Services:
        return our_services()

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
        self._wait_for(ids, dead_queue(queue))
        return ids

    def _publish(
        self,
        channel: BlockingChannel,
        sender: str,
        message_id: str,
        *,
        signed_at: float | None = None,
        signs: Callable[[LastingSigner, str], str | None] | None = None,
        headers: dict[str, Any] | None = None,
        body: bytes | None = None,
    ) -> None:
        is_job = sender == "catalog"
        content = body or (JOB if is_job else EVENT)
        name = FetchPage.name if is_job else LoginFailed.name
        signer = LastingSigner(
            self.keys(sender), clock=time if signed_at is None else lambda: signed_at
        )
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
        channel.basic_publish(
            WORK_EXCHANGE if is_job else EVENTS_EXCHANGE, name, content, properties, mandatory=True
        )

    def _wait_for(self, ids: list[str], queue: str) -> None:
        """Wait until these are in a queue of dead letters, where they get a moment later."""
        found: list[str | None] = []

        def are_found() -> bool:
            found[:] = self._look(queue)
            return set(ids) <= set(found)

        asyncio.run(eventually(are_found))
        self.comes_to(queue, len(found))

    def _look(self, queue: str) -> list[str | None]:
        """Give the ids of what waits in a queue; it is back there a moment later."""
        with self.connect() as connection:
            channel = connection.channel()
            found = []
            while (got := channel.basic_get(queue))[0] is not None:
                found.append(got[1].message_id)
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.queue_declare(queue, passive=True)
        return found

    def bury_request(self) -> None:
        """Let its worker refuse a request."""
        with self.connect("bridge") as connection:
            channel = connection.channel()
            properties = BasicProperties(
                message_id="asked", user_id="bridge", headers={"authorization": "a.users.token"}
            )
            body = b'{"username": "reader", "sealed_password": "xyzzy", "nested": [{"token": "t"}]}'
            channel.basic_publish(RPC_EXCHANGE, "auth.sessions.create", body, properties)
        hide_logs()
        asyncio.run(self._refuse())
        self._wait_for(["asked"], dead_queue(ASKED))

    async def _refuse(self) -> None:
        broker, keys = self.broker_as("auth"), self.keys("auth")
        publisher = broker.publisher()
        await publisher.start()
        worker = Worker(
            "auth", {}, broker=broker, publisher=publisher, keys=keys, revocations=Revocations()
        )
        await worker.start()
        await eventually(lambda: broker.traffic.published["confirmed"] == 1)  # its copy
        await worker.drain(2.0)
        await publisher.close()

    def broker_as(self, service: str) -> RabbitBroker:
        settings = MessagingSettings(
            broker_urls=(f"amqp://{self.broker.address}/{VHOST}",),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )
        return RabbitBroker(settings, service)

    def noted(self) -> list[dict[str, Any]]:
        """Read what the audit says."""
        log = self.state.dead_letters_log
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line) for line in lines]


async def worked_off(running: Running, count: int) -> dict[str, int]:
    """Let the catalogue's own kind of worker empty its queue; give what it counted."""
    broker = running.broker_as("catalog")
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


def sign_nothing(_signer: LastingSigner, _message_id: str) -> None:
    return None
