"""A RabbitMQ node in a container, and what can be done to its network, disk and clock."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ops.local.broker import BrokerError
from ops.local.broker_node import speaks_amqp
from tests.faults.brokers.docker import docker

BOOT_TIMEOUT_S = 300.0  # of a machine that is much too busy for a campaign
DATA = "/var/lib/rabbitmq"
DEFINITIONS = "/etc/rabbitmq/postroad.json"
_FILLER = "filler"
_LOOK_S = 0.1
_BEAM = "beam.smp"
# `docker pause` fails now and then where cgroups are of version 1; images have no `pkill`
_SIGNAL = f"""\
for process in /proc/[0-9]*; do
  if [ "$(cat "$process/comm")" = {_BEAM} ]; then kill -s "$0" "${{process#/proc/}}"; fi
done
"""


class ContainerNode:
    """A node in a container that was made already; ``cluster.py`` makes it."""

    def __init__(
        self, name: str, container: str, *, address: str, amqp_port: int, keeper: str, clock: Path
    ) -> None:
        """``keeper`` is the container that keeps its disk, ``clock`` the file of its shift."""
        self.name = name
        self.address = address  # by which the other nodes reach it
        self.amqp_port = amqp_port
        self._container = container
        self._keeper = keeper
        self._clock = clock
        self._pid: int | None = None

    @property
    def pid(self) -> int | None:
        return self._pid

    async def start(self) -> None:
        await docker("start", self._container)
        give_up_at = time.monotonic() + BOOT_TIMEOUT_S
        while not await speaks_amqp(self.amqp_port):
            if time.monotonic() > give_up_at:
                raise BrokerError(f"{self.name} did not start within {BOOT_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_LOOK_S)
        self._pid = await self._find_pid()

    async def stop(self) -> None:
        self._pid = None
        await docker("stop", "--time", "30", self._container)

    async def kill(self) -> None:
        self._pid = None
        with suppress(BrokerError):  # it has ended by itself
            await docker("kill", self._container)

    async def freeze(self) -> None:
        await self._signal("STOP")

    async def thaw(self) -> None:
        await self._signal("CONT")

    async def ctl(self, *arguments: str) -> str:
        return await self.run("rabbitmqctl", "--quiet", *arguments)

    async def run(self, *command: str) -> str:
        """Run a command in the container, as root, and return what it prints.

        Raises:
            BrokerError: it failed.
        """
        return await docker("exec", self._container, *command)

    async def import_definitions(self) -> None:
        await self.ctl("import_definitions", DEFINITIONS)

    async def cut_off(self, addresses: Iterable[str], *, hears: bool = False) -> None:
        """Drop what comes from these addresses, and what goes to them unless only ``hears``."""
        for address in addresses:
            if not hears:
                await self.run("iptables", "-A", "INPUT", "-s", address, "-j", "DROP")
            await self.run("iptables", "-A", "OUTPUT", "-d", address, "-j", "DROP")

    async def cut_off_from_all(self) -> None:
        """Drop all that comes and goes, as where a cable was pulled."""
        for chain, interface in (("INPUT", "-i"), ("OUTPUT", "-o")):
            await self.run("iptables", "-A", chain, interface, "eth0", "-j", "DROP")

    async def reconnect(self) -> None:
        """Drop nothing any more."""
        await self.run("iptables", "-F")

    async def fill_disk(self) -> None:
        """Leave no byte on the disk where the node keeps its data."""
        full = f"cat /dev/zero >/{self.name}/{_FILLER} 2>/dev/null || true"
        await docker("exec", self._keeper, "sh", "-c", full)

    async def free_disk(self) -> None:
        """Give the room back, from where the disk is kept: the node may have ended."""
        await docker("exec", self._keeper, "rm", "-f", f"/{self.name}/{_FILLER}")

    def move_clock(self, shift_s: float) -> None:
        """Put its clock so many seconds ahead of ours; it is noticed within a second."""
        self._clock.write_text(f"{shift_s:+.0f}\n")

    async def _signal(self, name: str) -> None:
        await self.run("sh", "-c", _SIGNAL, name)

    async def _find_pid(self) -> int | None:
        listed = await docker("top", self._container, "-eo", "pid,comm")
        pids = [int(pid) for pid, comm in map(str.split, listed.splitlines()[1:]) if comm == _BEAM]
        # an engine in a virtual machine has processes that we do not see
        is_here = bool(pids) and _command(pids[0]) == _BEAM
        return pids[0] if is_here else None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
