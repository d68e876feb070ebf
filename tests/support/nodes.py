"""A real RabbitMQ for the tests: a container where Docker answers, else a node of our own.

There is no third way: without either, the tests that need it fail.
"""

import asyncio
import json
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from testcontainers.core.container import DockerContainer

from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK, free_ports
from postroad.testing import eventually
from postroad.topology.definitions import Definitions, with_passwords
from tests.support.docker import docker_gives, image_of

ADMIN = "admin"  # looks into queues; a user of the tests alone, in no product's definitions
ADMIN_PASSWORD = "admin"
DEFAULT_IMAGE = "rabbitmq:4-management"
AMQP_PORT, MANAGEMENT_PORT = 5672, 15672  # inside a container
START_TIMEOUT_S = 90.0


class Management:
    """The management API of a node, as far as the tests need it."""

    def __init__(self, port: int, *, amqp_port: int) -> None:
        self._url = f"http://{LOOPBACK}:{port}/api"
        self._amqp_port = amqp_port  # as the node itself knows it

    async def answers(self) -> None:
        """Wait until the node takes AMQP connections."""
        await eventually(self._has_listener, timeout_s=START_TIMEOUT_S)

    def import_definitions(self, definitions: Definitions) -> None:
        """Add what the definitions name; nothing is removed or changed."""
        self._request("POST", "/definitions", definitions)

    def definitions(self, vhost: str) -> Any:
        """Return what there is in a virtual host, users and their rights aside."""
        found = self._request("GET", f"/definitions/{quote(vhost, safe='')}")
        return {
            kind: sorted(each, key=json.dumps) if isinstance(each, list) else each
            for kind, each in found.items()
        }

    def delete_vhost(self, vhost: str) -> None:
        """Delete a virtual host with all that is in it."""
        self._request("DELETE", f"/vhosts/{quote(vhost, safe='')}")

    def close_connections(self, user: str) -> int:
        """Let the broker close a user's connections, and say how many it closed.

        It learns of new ones a little late, and forgets old ones so too.
        """
        closed = 0
        for connection in self._request("GET", f"/connections/username/{user}"):
            try:
                self._request("DELETE", f"/connections/{quote(connection['name'], safe='')}")
                closed += 1
            except HTTPError as error:
                if error.code != 404:  # it is gone
                    raise
        return closed

    def count_connections(self, user: str) -> int:
        """Count a user's connections; it learns of new ones a little late."""
        return len(self._request("GET", f"/connections/username/{user}"))

    def messages(self, vhost: str, queue: str) -> Any:
        """Look at what waits in a queue, as a person does, and leave it there."""
        place = f"{quote(vhost, safe='')}/{quote(queue, safe='')}"
        how = {"count": 100, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return self._request("POST", f"/queues/{place}/get", how)

    def _has_listener(self) -> bool:
        try:
            self._request("GET", f"/health/checks/port-listener/{self._amqp_port}")
        except OSError:  # refused, or answered with an error
            return False
        return True

    def _request(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, method=method)
        credentials = b64encode(f"{ADMIN}:{ADMIN_PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=30) as response:
                text = response.read()
        except HTTPError as error:
            error.close()  # it is a response, too
            raise
        return json.loads(text) if text else None


class Node(Protocol):
    """A RabbitMQ that tests may break, as long as they mend it again."""

    @property
    def amqp_port(self) -> int: ...
    @property
    def management(self) -> Management: ...

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""

    async def start(self) -> None:
        """Start it, with what it had on disk, and wait until it answers."""

    async def ctl(self, *arguments: str) -> None:
        """Run ``rabbitmqctl``."""


@contextmanager
def running_node() -> Iterator[Node]:
    """Start a RabbitMQ, and remove it afterwards.

    Raises:
        BrokerError: Docker does not answer, and there is no ``rabbitmq-server`` either.
    """
    image = image_of("RABBITMQ_IMAGE", DEFAULT_IMAGE)
    with _container(image) if docker_gives(image) else _private() as node:
        yield node


class PrivateNode:
    """RabbitMQ from the system's package."""

    def __init__(self, broker: PrivateBroker) -> None:
        self._broker = broker
        self.amqp_port = broker.ports.amqp
        self.management = Management(broker.ports.management, amqp_port=broker.ports.amqp)

    def kill(self) -> None:
        self._broker.kill()

    async def start(self) -> None:
        await self._broker.start()

    async def ctl(self, *arguments: str) -> None:
        await self._broker.ctl(*arguments)


@contextmanager
def _private() -> Iterator[PrivateNode]:
    admin = {"users": [{"name": ADMIN, "tags": ["administrator"]}]}
    with tempfile.TemporaryDirectory(prefix="postroad-") as folder:
        broker = PrivateBroker(
            Path(folder), with_passwords(admin, {ADMIN: ADMIN_PASSWORD}), management=True
        )
        asyncio.run(broker.start())
        try:
            yield PrivateNode(broker)
        finally:
            broker.kill()


class ContainerNode:
    """RabbitMQ in a container."""

    def __init__(self, container: DockerContainer, amqp_port: int, management_port: int) -> None:
        self._container = container.get_wrapped_container()
        self.amqp_port = amqp_port
        self.management = Management(management_port, amqp_port=AMQP_PORT)

    def kill(self) -> None:
        self._container.kill()

    async def start(self) -> None:
        self._container.start()
        await self.management.answers()

    async def ctl(self, *arguments: str) -> None:
        code, output = self._container.exec_run(["rabbitmqctl", *arguments])
        assert code == 0, output.decode()


@contextmanager
def _container(image: str) -> Iterator[ContainerNode]:
    amqp_port, management_port = free_ports(2)  # the same ones after a restart
    container = (
        DockerContainer(image)
        .with_kwargs(hostname="postroad-tests")  # names the node, and so the folder of its state
        .with_env("RABBITMQ_DEFAULT_USER", ADMIN)
        .with_env("RABBITMQ_DEFAULT_PASS", ADMIN_PASSWORD)
    )
    ports: Any = {
        f"{AMQP_PORT}/tcp": (LOOPBACK, amqp_port),
        f"{MANAGEMENT_PORT}/tcp": (LOOPBACK, management_port),
    }
    container.ports = ports  # `with_bind_ports` takes no address, and opens them to everybody
    with container:
        node = ContainerNode(container, amqp_port, management_port)
        asyncio.run(node.management.answers())
        yield node
