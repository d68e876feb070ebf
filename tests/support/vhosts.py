"""Virtual hosts for tests, used again: to empty one costs a node a tenth of making one."""

import itertools
import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from ops.local.ports import LOOPBACK
from postroad.topology.definitions import Definitions, with_passwords
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, Node

PASSWORD = "of every service user, in the tests"
SETTLED_AFTER_S = 0.5  # then nothing is on its way any more that a cut connection had sent


@dataclass(slots=True)
class Vhost:
    """A virtual host with all that some definitions name in it."""

    name: str
    queues: list[str]
    as_made: Any
    left_at: float = field(default=0.0)


class Vhosts:
    """The virtual hosts of a node; each is lent to one test at a time."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._numbers = itertools.count()
        self._idle: dict[str, deque[Vhost]] = defaultdict(deque)

    def lend(self, definitions: Definitions) -> Vhost:
        """Return one with these definitions in which nothing waits and nobody consumes."""
        idle = self._idle[json.dumps(definitions)]
        while idle and idle[0].left_at < monotonic() - SETTLED_AFTER_S:
            vhost = idle.popleft()
            if self._is_as_made(vhost):
                return vhost
            self.node.management.delete_vhost(vhost.name)
        return self._make(definitions)

    def take_back(self, vhost: Vhost, definitions: Definitions) -> None:
        """Keep one for the next test that wants these definitions."""
        vhost.left_at = monotonic()
        self._idle[json.dumps(definitions)].append(vhost)

    def _make(self, definitions: Definitions) -> Vhost:
        management, name = self.node.management, f"test-{next(self._numbers)}"
        management.import_definitions(moved(definitions, name))
        queues = [queue["name"] for queue in definitions["queues"]]
        return Vhost(name, queues, management.definitions(name))

    def _is_as_made(self, vhost: Vhost) -> bool:
        """Empty the queues, and tell whether a test has left nothing else behind."""
        with connect(self.node, vhost.name) as connection:
            channel = connection.channel()
            for queue in vhost.queues:
                try:
                    declared = channel.queue_declare(queue, passive=True).method
                except ChannelClosedByBroker:  # deleted
                    return False
                if declared.consumer_count:  # and with them messages that come back
                    return False
                if declared.message_count:
                    channel.queue_purge(queue)
        return bool(self.node.management.definitions(vhost.name) == vhost.as_made)


def connect(
    node: Node, vhost: str, user: str = ADMIN, password: str = ADMIN_PASSWORD
) -> pika.BlockingConnection:
    """Connect as a user may who does not keep to our code."""
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(
        pika.ConnectionParameters(LOOPBACK, node.amqp_port, vhost, credentials)
    )


def moved(definitions: Definitions, vhost: str) -> Definitions:
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
