"""The in-memory broker and RabbitMQ, the same to a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pika
from pika import BasicProperties

from postroad.broker.interfaces import Broker
from postroad.broker.rabbitmq import RabbitBroker
from postroad.settings import MessagingSettings
from postroad.testing import MemoryBroker, Reachable
from postroad.topology.definitions import Definitions
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, Node
from tests.support.proxy import Proxy
from tests.support.vhosts import PASSWORD, Vhosts, connect, moved


@dataclass(frozen=True)
class Seen:
    """A message in a queue, looked at."""

    body: bytes
    properties: BasicProperties

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}


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

    def as_user(self, user: str) -> Broker:
        return self.broker.as_user(user)

    def cut(self, user: str) -> None:
        self.broker.cut(user)

    async def go_away(self) -> None:
        self.broker.go_away()

    async def come_back(self) -> None:
        self.broker.come_back()

    async def look(self, queue: str) -> list[Seen]:
        return [Seen(each.body, each.properties) for each in self.broker.messages(queue)]

    async def depth(self, queue: str) -> int:
        return len(self.broker.messages(queue))


class RabbitUnderTest:
    """A virtual host of a real RabbitMQ, each user behind a proxy of its own."""

    def __init__(self, node: Node, definitions: Definitions, vhost: str, folder: Path) -> None:
        self.node = node
        self.vhost = vhost
        self._definitions = moved(definitions, vhost)
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

    async def open(self) -> None:
        """Open a line for each user, named as they are."""
        for user in self._definitions["users"]:
            await self.line(user["name"])

    def as_user(self, user: str) -> Broker:
        return RabbitBroker(self._settings(self._proxies[user].port), user)

    async def line(self, name: str, **settings: Any) -> "Line":
        """Open a way to the broker that can be cut by itself."""
        self._proxies[name] = Proxy(self.node.amqp_port)
        await self._proxies[name].open()
        return Line(self._settings(self._proxies[name].port, **settings))

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
        return connect(self.node, self.vhost, user, password)

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

    settings: MessagingSettings

    def as_user(self, user: str) -> Broker:
        return RabbitBroker(self.settings, user)


@asynccontextmanager
async def rabbit_under_test(
    vhosts: Vhosts, definitions: Definitions, folder: Path
) -> AsyncIterator[RabbitUnderTest]:
    """Have a virtual host for as long as the context lasts."""
    definitions = deepcopy(definitions)  # a test may change its own
    vhost = vhosts.lend(definitions)
    broker = RabbitUnderTest(vhosts.node, definitions, vhost.name, folder)
    try:
        await broker.open()
        yield broker
    finally:
        await broker.go_away()
        vhosts.take_back(vhost, definitions)
