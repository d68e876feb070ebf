"""Two brokers: the one that a system uses, and the one that it moves to."""

import asyncio
import json
from pathlib import Path

import pika
import pytest

from ops.commands.dispatch import run_command
from ops.local.ports import LOOPBACK
from ops.moving.overlays import OPEN, SHUT
from ops.services import grants, programs
from ops.services.operator import OPERATOR, operator_rights
from postroad.settings import MessagingSettings
from postroad.topology.names import VHOST
from postroad.topology.services import Services
from tests.integration.dead_letters.running import Running
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, Management, Node

Captured = pytest.CaptureFixture[str]


class Old(Running):
    """The machine's own RabbitMQ, with the operator."""

    admin_tags = ("administrator",)

    @property
    def management(self) -> Management:
        ports = self.broker.ports
        return Management(ports.management, amqp_port=ports.amqp)

    def _services(self) -> Services:
        grants.note(self.state, OPERATOR, operator_rights())
        return programs.allowed_services(self.state)


class Moving:
    """Both, and what a person does with them."""

    def __init__(self, old: Old, new: Node) -> None:
        self.old = old
        self.new = new
        self.old_url = f"amqp://{old.broker.address}/{VHOST}"
        self.new_url = f"amqp://{LOOPBACK}:{new.amqp_port}/{VHOST}"

    def command(self, act: str, *arguments: str) -> int:
        """Run `postroad move-broker`; give its exit status."""
        state = ["--state", str(self.old.state.folder)]
        where = [] if act == "prepare" else ["--from", self.old_url, "--to", self.new_url]
        return run_command(["move-broker", act, *where, *arguments, *state])

    def overlay(self, name: str) -> Path:
        return self.old.state.broker_folder / name

    def tell_old(self, overlay: str) -> None:
        self.old.management.import_definitions(json.loads(self.overlay(overlay).read_bytes()))

    def tell_new(self, overlay: str) -> None:
        wanted = json.loads(self.overlay(overlay).read_bytes())
        users = [user for user in wanted["users"] if user["name"] != ADMIN]  # it has one
        wanted["users"] = users
        self.new.management.import_definitions(wanted)

    @property
    def queues(self) -> list[str]:
        wanted = json.loads(self.overlay(OPEN).read_bytes())
        return [queue["name"] for queue in wanted["queues"]]

    def prepare(self) -> None:
        assert self.command("prepare") == 0
        self.tell_new(SHUT)

    def switch(self) -> None:
        """Let services in at the new broker, and no longer at the old one."""
        self.tell_old(SHUT)
        self.tell_new(OPEN)
        self.cut()

    def cut(self) -> None:
        asyncio.run(self.old.broker.ctl("close_all_connections", "--vhost", VHOST, "moved"))

    def settings_of(self, service: str) -> MessagingSettings:
        """Return the settings of a service that has been told of both."""
        state = self.old.state
        return MessagingSettings(
            broker_urls=(self.old_url, self.new_url),
            broker_password_file=state.password_file(service),
            identity_file=state.identity_file(service),
            trust_file=state.trust_file,
        )

    def begin(self) -> None:
        """Have everybody use the old broker, and nothing wait at either."""
        self.prepare()
        self.tell_old(OPEN)
        self.old.empty()
        with self.at_new() as connection:
            for queue in self.queues:
                connection.channel().queue_purge(queue)

    def connections(self, user: str) -> int:
        """Count a user's connections to the new broker."""
        return self.new.management.count_connections(user)

    def at_new(self) -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(ADMIN, ADMIN_PASSWORD)
        return pika.BlockingConnection(
            pika.ConnectionParameters(LOOPBACK, self.new.amqp_port, VHOST, credentials)
        )

    def depth_at_new(self, queue: str) -> int:
        with self.at_new() as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)

    def look_at_new(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        """See what waits at the new broker, and leave it there."""
        seen = []
        with self.at_new() as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue))[0] is not None:
                seen.append((got[1], got[2]))
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.queue_declare(queue, passive=True)  # answered when the nack has been heard
        return seen
