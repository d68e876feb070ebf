"""What a campaign does to brokers: to the machine's own RabbitMQ, or to nodes in containers."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class Node(Protocol):
    """One RabbitMQ node."""

    name: str
    amqp_port: int  # on 127.0.0.1; the same after a restart

    @property
    def pid(self) -> int | None:
        """Return the process, if it runs and can be seen from here."""

    async def start(self) -> None:
        """Start the node, and wait until it takes connections."""

    async def stop(self) -> None:
        """Stop it as an operator does."""

    async def kill(self) -> None:
        """End it as ``kill -9`` does."""

    async def freeze(self) -> None:
        """Let no process of it run until ``thaw``."""

    async def thaw(self) -> None:
        """Let it go on."""

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it prints.

        Raises:
            BrokerError: it failed.
        """

    async def import_definitions(self) -> None:
        """Import the definitions that it was started with."""


class Brokers:
    """All nodes there are: one, or a cluster."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def kill(self) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on the first node."""
        return await self.nodes[0].ctl(*arguments)

    async def describe(self) -> str:
        """Return which release they are, and how many."""
        count = len(self.nodes)
        nodes = "one node" if count == 1 else f"a cluster of {count} nodes"
        return f"RabbitMQ {(await self.ctl('version')).strip()}, {nodes}"
