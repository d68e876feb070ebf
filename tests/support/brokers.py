"""The in-memory broker and RabbitMQ, the same to a test."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pika
from pika import BasicProperties

from postroad.broker.interfaces import Broker
from postroad.broker.memory.broker import MemoryBroker
from postroad.broker.rabbitmq import RabbitBroker
from postroad.settings import MessagingSettings
from postroad.topology.definitions import Definitions, with_passwords
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, Node
from tests.support.proxy import Proxy

PASSWORD = "of every service user, in the tests"
_numbers = itertools.count()


@dataclass(frozen=True)
class Seen:
    """A message in a queue, looked at."""

    body: bytes
    properties: BasicProperties

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}


class Reachable(Protocol):
    """A broker, or a way to it."""

    async def as_user(self, user: str) -> Broker:
        """See it as one service user does."""


class BrokerUnderTest(Reachable, Protocol):
    """A broker with the exchanges and queues of some definitions, and ways to disturb it."""

    def cut(self, user: str) -> None:
        """Cut a user's connections, as a failing network does."""

    async def go_away(self) -> None:
        """Cut all connections, and take none until ``come_back``."""

    async def come_back(self) -> None:
        """Take connections again."""

    async def look(self, queue: str) -> list[Seen]:
        """See what waits in a queue, in order, and leave it there."""

    async def depth(self, queue: str) -> int:
        """Count what waits in a queue."""


class MemoryUnderTest:
    """The in-memory broker."""

    def __init__(self, definitions: Definitions) -> None:
        self.broker = MemoryBroker(definitions)

    async def as_user(self, user: str) -> Broker:
        return self.broker.as_user(user)

    def cut(self, user: str) -> None:
        self.broker.cut(user)

    async def go_away(self) -> None:
        self.broker.go_away()

    async def come_back(self) -> None:
        self.broker.come_back()

    async def look(self, queue: str) -> list[Seen]:
        return [Seen(each.body, each.properties) for each in self.broker.node.queues[queue].ready()]

    async def depth(self, queue: str) -> int:
        return len(self.broker.node.queues[queue].ready())


class RabbitUnderTest:
    """A virtual host of a real RabbitMQ, each user behind a proxy of its own."""

    def __init__(self, node: Node, definitions: Definitions, vhost: str, folder: Path) -> None:
        self.node = node
        self.vhost = vhost
        self._definitions = _for_tests(definitions, vhost)
        self._folder = folder
        self._proxies: dict[str, Proxy] = {}

    def _settings(self, port: int, **others: Any) -> MessagingSettings:
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        return MessagingSettings(
            broker_urls=(f"amqp://127.0.0.1:{port}/{self.vhost}",),
            broker_password_file=password_file,
            identity_file=self._folder / "unused",
            trust_file=self._folder / "unused",
            **others,
        )

    def import_definitions(self) -> None:
        """Make what the definitions name, unless it is there."""
        self.node.management.import_definitions(self._definitions)

    def delete_queue(self, queue: str) -> None:
        """Delete a queue, as a person may by mistake."""
        with self.connect(ADMIN, ADMIN_PASSWORD) as connection:
            connection.channel().queue_delete(queue)

    async def as_user(self, user: str) -> Broker:
        return await self.line(user).as_user(user)

    def line(self, name: str, **settings: Any) -> "Line":
        """Give a way to the broker that can be cut by itself; each user has one anyway."""
        return Line(self, name, settings)

    async def connect_line(self, name: str, user: str, settings: dict[str, Any]) -> Broker:
        """Give the broker as a user sees it through a line."""
        if name not in self._proxies:
            self._proxies[name] = Proxy(self.node.amqp_port)
            await self._proxies[name].open()
        return RabbitBroker(self._settings(self._proxies[name].port, **settings), user)

    def cut(self, user: str) -> None:
        self._proxies[user].cut()

    async def lose(self, line: str) -> None:
        """Cut a line for good."""
        await self._proxies[line].shut()

    def stall(self, line: str) -> None:
        """Let nothing through any more, and say nothing."""
        self._proxies[line].stall()

    async def go_away(self) -> None:
        for proxy in self._proxies.values():
            await proxy.shut()

    async def come_back(self) -> None:
        for proxy in self._proxies.values():
            await proxy.open()

    async def look(self, queue: str) -> list[Seen]:
        return await asyncio.to_thread(self._look, queue)

    async def depth(self, queue: str) -> int:
        return await asyncio.to_thread(self._depth, queue)

    def connect(self, user: str, password: str = PASSWORD) -> pika.BlockingConnection:
        """Connect as a user may who does not keep to our code."""
        parameters = pika.ConnectionParameters(
            host="127.0.0.1",
            port=self.node.amqp_port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(user, password),
        )
        return pika.BlockingConnection(parameters)

    def _look(self, queue: str) -> list[Seen]:
        with self.connect(ADMIN, ADMIN_PASSWORD) as connection:
            channel = connection.channel()
            seen = []
            while (got := channel.basic_get(queue))[0] is not None:
                seen.append(Seen(got[2], got[1]))
            channel.basic_nack(0, multiple=True, requeue=True)
            channel.queue_declare(queue, passive=True)  # answered when the nack has been heard
        return seen

    def _depth(self, queue: str) -> int:
        with self.connect(ADMIN, ADMIN_PASSWORD) as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)


@dataclass(frozen=True)
class Line:
    """One way to a broker."""

    broker: RabbitUnderTest
    name: str
    settings: dict[str, Any]

    async def as_user(self, user: str) -> Broker:
        return await self.broker.connect_line(self.name, user, self.settings)


@asynccontextmanager
async def rabbit_under_test(
    node: Node, definitions: Definitions, folder: Path
) -> AsyncIterator[RabbitUnderTest]:
    """Make a virtual host, and delete it afterwards."""
    broker = RabbitUnderTest(node, definitions, f"test-{next(_numbers)}", folder)
    broker.import_definitions()
    try:
        yield broker
    finally:
        await broker.go_away()
        node.management.delete_vhost(broker.vhost)


def _for_tests(definitions: Definitions, vhost: str) -> Definitions:
    """Put definitions into another virtual host, with passwords and a user who sees everything."""
    moved = {
        kind: [entry | {"vhost": vhost} if "vhost" in entry else entry for entry in entries]
        for kind, entries in definitions.items()
    }
    moved["vhosts"] = [{"name": vhost}]
    moved["permissions"].append(
        {"user": ADMIN, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
    )
    return with_passwords(moved, {user["name"]: PASSWORD for user in moved["users"]})
