"""RabbitMQ nodes in containers: one, or a cluster as compose.cluster.yml has it."""

import asyncio
import json
import random
import secrets
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ops.local.broker import BrokerError
from ops.local.ports import LOOPBACK, free_ports
from postroad.ids import new_id
from postroad.limits import MESSAGE_MAX_BYTES
from tests.faults.brokers.container import DATA, DEFINITIONS, ContainerNode
from tests.faults.brokers.docker import docker
from tests.safeguards.listed import ROOT

LABEL = "postroad.faults"
NAMES = ("broker", "broker-2", "broker-3")  # as rabbitmq/cluster.conf has them
DISK = "400m"  # of each node, in memory
_CONF = f"""\
listeners.tcp.default = 5672
definitions.import_backend = local_filesystem
definitions.local.path = {DEFINITIONS}
max_message_size = {MESSAGE_MAX_BYTES}
log.console = true
log.connection.level = warning
"""
# What cuts a node off, and moves its clock. Erlang takes the time of day from the library at once,
# and its timers from the monotonic clock, which is left alone.
_DOCKERFILE = """\
FROM {image}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends iptables libfaketime \\
 && ln -s /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/local/lib/ && rm -rf /var/lib/apt/lists/*
ENV LD_PRELOAD=/usr/local/lib/libfaketimeMT.so.1 FAKETIME_TIMESTAMP_FILE=/clock/shift \\
    FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1
"""
_ENTRY = f"""\
rm -f {DATA}/.erlang.cookie \
&& install -m 400 /etc/rabbitmq/cookie {DATA}/.erlang.cookie \
&& exec docker-entrypoint.sh rabbitmq-server"""
_SUBNET_TRIES = 10
# Removes all when its input ends: when we let go of it, or have been killed.
_REMOVE = """\
read -r _
docker ps --all --quiet --filter "label=$0" | xargs -r docker rm --force --volumes
docker network ls --quiet --filter "label=$0" | xargs -r docker network rm
docker volume ls --quiet --filter "label=$0" | xargs -r docker volume rm
"""


@asynccontextmanager
async def containers(
    folder: Path, definitions: Mapping[str, Any], *, count: int, image: str
) -> AsyncIterator[list[ContainerNode]]:
    """Make nodes that have not been started yet; remove them at the end.

    Args:
        folder: for what they read; it is made.
        definitions: what they import at each start.
        count: how many: 1 or 3.
        image: RabbitMQ's; for a cluster, one with apt-get.

    Raises:
        BrokerError: Docker refused.
    """
    label = _label(folder)
    remover = subprocess.Popen(
        ["sh", "-c", _REMOVE, label],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # no Ctrl-C reaches it
    )
    try:
        _write_files(folder, definitions)
        if count > 1:
            image = await _with_tools(image)
        yield await _make(folder, count, image, label)
    finally:
        await asyncio.shield(asyncio.to_thread(remover.communicate, b"\n"))


async def left_behind(folder: Path) -> list[str]:
    """Name the containers that are still there of a campaign with this folder."""
    only = ("--filter", f"label={_label(folder)}")
    return (await docker("ps", "--all", *only, "--format", "{{.Names}}")).split()


def _label(folder: Path) -> str:
    return f"{LABEL}={folder}"


def _write_files(folder: Path, definitions: Mapping[str, Any]) -> None:
    """Write what nodes read; each file is mounted by itself, so that they may read no other."""
    folder.mkdir(parents=True)
    files = {
        "definitions.json": json.dumps(definitions),
        "rabbitmq.conf": _CONF,
        "enabled_plugins": "[].\n",
        "cookie": secrets.token_hex(32),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)


async def _with_tools(image: str) -> str:
    """Build an image on this one that has what the cluster's own faults need."""
    made = f"postroad-faults:{image.replace(':', '-').replace('/', '-')}"
    await docker(
        *("build", "--quiet", "--tag", made, "-"),
        stdin=_DOCKERFILE.format(image=image),
        timeout_s=600,
    )
    return made


async def _make(folder: Path, count: int, image: str, label: str) -> list[ContainerNode]:
    network = f"postroad-faults-{new_id()[-8:]}"
    subnet = await _make_network(network, label)
    addresses = {name: f"{subnet}.{number}" for number, name in enumerate(NAMES[:count], 11)}
    keeper = f"{network}-disks"
    nodes = []
    for port, (name, address) in zip(free_ports(count), addresses.items(), strict=True):
        clock = folder / f"clock-{name}"
        clock.mkdir()
        node = ContainerNode(
            *(name, f"{network}-{name}"),
            address=address,
            amqp_port=port,
            keeper=keeper,
            clock=clock / "shift",
        )
        node.move_clock(0)
        volume = f"{network}-{name}"
        await docker(
            *("volume", "create", "--label", label, "--opt", "type=tmpfs"),
            *("--opt", "device=tmpfs", "--opt", f"o=size={DISK}", volume),
        )
        await docker(
            *("create", "--name", f"{network}-{name}", "--label", label, "--hostname", name),
            *("--network", network, "--ip", address, "--cap-add", "NET_ADMIN"),
            *(f"--add-host={other}:{at}" for other, at in addresses.items() if other != name),
            *("--publish", f"{LOOPBACK}:{port}:5672", "--volume", f"{volume}:{DATA}"),
            *_mounted(folder, clock, count),
            *("--entrypoint", "sh", image, "-c", _ENTRY),
        )
        nodes.append(node)
    # a file system in memory is there for as long as anybody has it mounted
    mounted = [f"--volume={network}-{name}:/{name}" for name in addresses]
    await docker(
        *("run", "--detach", "--name", keeper, "--label", label, "--network", "none"),
        *(*mounted, "--entrypoint", "sleep", image, "infinity"),
    )
    return nodes


def _mounted(folder: Path, clock: Path, count: int) -> list[str]:
    """Return the options that mount what a node reads."""
    places = {
        folder / "definitions.json": DEFINITIONS,
        folder / "rabbitmq.conf": "/etc/rabbitmq/conf.d/20-faults.conf",
        folder / "enabled_plugins": "/etc/rabbitmq/enabled_plugins",
        folder / "cookie": "/etc/rabbitmq/cookie",
        clock: "/clock",
        ROOT / "rabbitmq" / "advanced.config": "/etc/rabbitmq/advanced.config",
    }
    if count > 1:
        places[ROOT / "rabbitmq" / "cluster.conf"] = "/etc/rabbitmq/conf.d/30-cluster.conf"
    return [f"--volume={source}:{place}:ro" for source, place in places.items()]


async def _make_network(name: str, label: str) -> str:
    """Make a network whose addresses nobody has; return what they begin with."""
    for tries in range(1, _SUBNET_TRIES + 1):
        subnet = f"10.{random.randint(64, 254)}.{random.randint(0, 254)}"
        try:
            await docker("network", "create", "--label", label, "--subnet", f"{subnet}.0/24", name)
        except BrokerError:
            if tries == _SUBNET_TRIES:
                raise
        else:
            break
    return subnet
