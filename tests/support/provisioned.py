"""A broker with the definitions and settings of a running system: a container, or a private node.

As for other tests (tests/support/nodes.py), a container where Docker answers.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from testcontainers.core.container import DockerContainer

from ops.local.broker import PrivateBroker
from ops.local.broker_node import FRESH_DEPTHS, FRESH_DEPTHS_ADVANCED, PLUGINS, Ports
from ops.local.ports import LOOPBACK, free_ports
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from tests.support.docker import docker_gives, image_of
from tests.support.nodes import AMQP_PORT, DEFAULT_IMAGE, MANAGEMENT_PORT, START_TIMEOUT_S

_METRICS_PORT, _TLS_PORT = 15692, 15671  # inside a container
_FOLDER = "/etc/postroad"  # there, too


@dataclass(frozen=True, slots=True)
class Setup:
    """What a broker is made of."""

    definitions: Definitions
    settings: Mapping[str, str] = field(default_factory=lambda: FRESH_DEPTHS)  # of rabbitmq.conf
    advanced: str = FRESH_DEPTHS_ADVANCED  # of a container; a private node has its own
    tls: tuple[Path, int] | None = None  # a certificate's folder, and a port for the management API


class ProvisionedBroker(Protocol):
    """What tests use of either."""

    @property
    def ports(self) -> Ports: ...
    @property
    def address(self) -> str: ...
    @property
    def management_url(self) -> str: ...
    @property
    def metrics_url(self) -> str: ...

    async def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``, and return what it prints."""


class Container:
    """RabbitMQ in a container, its ports published on loopback."""

    def __init__(self, container: DockerContainer, ports: Ports) -> None:
        self._container = container
        self.ports = ports
        self.address = f"{LOOPBACK}:{ports.amqp}"
        self.management_url = f"http://{LOOPBACK}:{ports.management}"
        self.metrics_url = f"http://{LOOPBACK}:{ports.metrics}"

    async def ctl(self, *arguments: str) -> str:
        command = ["rabbitmqctl", "--quiet", *arguments]
        code, output = await asyncio.to_thread(
            self._container.get_wrapped_container().exec_run, command
        )
        assert code == 0, output.decode()
        return str(output.decode())

    async def answers(self) -> None:
        async def reports() -> bool:
            try:
                await self.ctl("await_startup", "--timeout", "60")
            except AssertionError:
                return False
            return True

        await eventually(reports, timeout_s=START_TIMEOUT_S)


@contextmanager
def provisioned_broker(folder: Path, setup: Setup) -> Iterator[ProvisionedBroker]:
    """Start a broker, a private node with its files in an empty folder; remove it afterwards."""
    image = image_of("RABBITMQ_IMAGE", DEFAULT_IMAGE)
    if docker_gives(image):
        with _container(image, setup) as container:
            yield container
        return
    settings = {**setup.settings, **(_tls_settings(*setup.tls) if setup.tls else {})}
    private = PrivateBroker(folder, setup.definitions, settings=settings, management=True)
    asyncio.run(private.start())
    try:
        yield private
    finally:
        asyncio.run(private.stop())


@contextmanager
def _container(image: str, setup: Setup) -> Iterator[Container]:
    amqp, management, metrics = free_ports(3)
    ports = Ports(amqp, management, metrics, 0, 0)
    published: Any = {
        f"{AMQP_PORT}/tcp": (LOOPBACK, ports.amqp),
        f"{MANAGEMENT_PORT}/tcp": (LOOPBACK, ports.management),
        f"{_METRICS_PORT}/tcp": (LOOPBACK, ports.metrics),
    }
    settings = {
        **setup.settings,
        "definitions.import_backend": "local_filesystem",
        "definitions.local.path": f"{_FOLDER}/definitions.json",
    }
    files: dict[str, bytes] = {}
    if setup.tls:
        certificate, port = setup.tls
        published[f"{_TLS_PORT}/tcp"] = (LOOPBACK, port)
        settings |= _tls_settings(Path(_FOLDER), _TLS_PORT)
        files |= {f"{_FOLDER}/{path.name}": path.read_bytes() for path in certificate.iterdir()}
    conf = "".join(f"{key} = {value}\n" for key, value in settings.items())
    files |= {
        f"{_FOLDER}/definitions.json": json.dumps(setup.definitions).encode(),
        "/etc/rabbitmq/conf.d/50-postroad.conf": conf.encode(),
        "/etc/rabbitmq/advanced.config": setup.advanced.encode(),
        "/etc/rabbitmq/enabled_plugins": PLUGINS.encode(),
    }
    container = DockerContainer(image)
    for path, content in files.items():  # copied: tests may run in a container beside it
        container.with_copy_into_container(content, path)
    container.ports = published  # as in tests/support/nodes.py
    with container:
        broker = Container(container, ports)
        asyncio.run(broker.answers())
        yield broker


def _tls_settings(folder: Path, port: int) -> dict[str, str]:
    return {
        "management.ssl.port": str(port),
        "management.ssl.cacertfile": str(folder / "ca.pem"),
        "management.ssl.certfile": str(folder / "certificate.pem"),
        "management.ssl.keyfile": str(folder / "key.pem"),
    }
