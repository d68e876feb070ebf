"""A private RabbitMQ node, run as our child: for `postroad up`, and for tests."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ops.local import ports as tcp
from ops.local import processes
from ops.local.broker_node import (
    Node,
    Ports,
    RabbitMQNotFound,
    complaint,
    find_program,
    has_tls,
    port_was_taken,
    speaks_amqp,
    started_version,
)
from ops.local.ports import LOOPBACK

_BOOT_TIMEOUT_S = 90.0  # an idle machine needs 3, a small and busy one half a minute
_STOP_GRACE_S = 15.0
_MOVES = 2  # to other ports, when one that we chose was taken by somebody who does not ask
_TLS = "listeners.ssl."


class BrokerError(Exception):
    """The broker did not do what it was asked to; the message says what is known."""


class PrivateBroker:
    """A RabbitMQ node on loopback whose every file lies in one folder.

    It can be stopped, killed and started again; ports and data stay. It dies with its parent.
    """

    def __init__(
        self,
        folder: Path,
        definitions: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        management: bool = False,
        ports: Ports | None = None,
        log: Path | None = None,
    ) -> None:
        """Prepare a node; `start` starts it.

        Args:
            folder: where its files are, made when missing.
            definitions: what it loads at each start (RabbitMQ's definitions JSON); loading adds
                and changes, and never deletes. Without users in it nobody can sign in.
            settings: more of rabbitmq.conf, as ``{"vm_memory_high_watermark.absolute": "64MB"}``.
            management: serve the management UI and API too, and Prometheus' metrics.
            ports: where to listen; free ones are chosen otherwise.
            log: the node's log; the one before is kept beside it as ``.1``.
        """
        folder = folder.resolve()
        self._node = Node(folder, ports or Ports(*tcp.free_ports(5)), management)
        self._moves = 0 if ports else _MOVES
        self._definitions = definitions or {}
        self._settings = settings or {}
        self.log = log or folder / "broker.log"
        self._beam: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def ports(self) -> Ports:
        return self._node.ports

    @property
    def address(self) -> str:
        """Where clients connect: ``host:port``."""
        return f"{LOOPBACK}:{self.ports.amqp}"

    @property
    def management_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.metrics}"

    @property
    def version(self) -> str:
        """The RabbitMQ that was started last, empty when its log does not say."""
        return started_version(self.log)

    @property
    def pid(self) -> int | None:
        return self._beam.pid if self.running and self._beam else None

    @property
    def running(self) -> bool:
        return self._beam is not None and self._beam.poll() is None

    def define(self, definitions: Mapping[str, Any]) -> None:
        """Have it load other definitions at its next start."""
        self._definitions = definitions

    async def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Start the node and wait until it takes connections.

        Args:
            progress: is called about once a second with what is going on.

        Raises:
            BrokerError: it cannot start; the end of its log is part of the message.
        """
        if self.running:
            return
        self.kill()  # after a crash the port mapper is still there
        try:
            await self._start(progress)
        except (RabbitMQNotFound, tcp.PortUnavailable) as error:
            raise BrokerError(str(error)) from error
        except OSError as error:
            raise BrokerError(f"cannot start a broker in {self._node.folder}: {error}") from error
        self._moves = 0  # clients know where it is

    async def _start(self, progress: Callable[[str], None]) -> None:
        while True:
            try:
                news = await self._launch()
                await self._boot(progress)
                if news:
                    await self.keep_definitions()
            except BaseException as error:
                self.kill()
                if not isinstance(error, tcp.PortUnavailable) or not self._moves:
                    raise
                self._moves -= 1
                self._node = replace(self._node, ports=Ports(*tcp.free_ports(5)))
            else:
                return

    async def stop(self) -> None:
        """Stop the node with its data safe on disk; at once if it does not stop in time."""
        if self._beam:
            await processes.stop(self._beam, grace_s=_STOP_GRACE_S)
        self.kill()

    def kill(self) -> None:
        """End the node as kill -9 does."""
        for child in (self._beam, self._epmd):
            if child:
                processes.kill(child)
        self._beam = self._epmd = None

    async def ended(self) -> None:
        """Wait until the node has ended."""
        if self._beam:
            await processes.ended(self._beam)

    async def restart(self) -> None:
        """Stop the node and start it again."""
        await self.stop()
        await self.start()

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against the node and give what it prints.

        Raises:
            BrokerError: it failed; the message is its own.
        """
        command = await asyncio.create_subprocess_exec(
            str(find_program("rabbitmqctl")),
            *("--quiet", *arguments),
            env=self._node.environment(),
            cwd=self._node.folder,  # Erlang loads code from where it runs
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await command.communicate()
        if command.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)}: {output.decode().strip()}")
        return output.decode()

    async def keep_definitions(self) -> None:
        """Have what was just declared written to disk.

        RabbitMQ 3.10 declares a queue with a transaction whose last record Mnesia keeps in memory
        for a while, or until the next transaction. A node killed meanwhile forgets the queue,
        and with it every message that it has confirmed.

        Raises:
            BrokerError: the node does not answer.
        """
        await self.ctl("eval", "catch mnesia:sync_log().")  # later nodes may run without Mnesia

    async def _launch(self) -> bool:
        """Start the processes, and tell whether the node has new definitions."""
        await self._end_stale_node()
        self._check_ports()
        news = self._node.write(self._definitions, self._settings)
        if self.log.exists():
            self.log.replace(f"{self.log}.1")
        environment = self._node.environment()
        argv = self._node.argv()
        with self.log.open("wb") as output:
            start = partial(processes.spawn, env=environment, cwd=self._node.folder, output=output)
            self._epmd = start(self._node.epmd_argv())
            await processes.settle(self._epmd_listens, timeout_s=5)
            self._beam = start(argv)
        return news

    async def _end_stale_node(self) -> None:
        """End a node left in our folder by a run whose children were not killed with it."""
        try:
            pid = int(self._node.pid_file.read_text())
        except (OSError, ValueError):
            return
        if self._node.owns(processes.command_line(pid)):
            await processes.end_stranger(pid, grace_s=_STOP_GRACE_S)

    def _check_ports(self) -> None:
        for port in (*self._node.used_ports(), *self._tls_ports()):
            tcp.check(port)

    def _tls_ports(self) -> list[int]:
        """Return the ports that the settings name: RabbitMQ opens them last."""
        addresses = (self._settings[key] for key in self._settings if key.startswith(_TLS))
        return [int(address.rpartition(":")[2]) for address in addresses]

    def _epmd_listens(self) -> bool:
        return tcp.is_listening(self.ports.epmd)

    async def _boot(self, progress: Callable[[str], None]) -> None:
        started = time.monotonic()
        while not await self._is_ready():
            elapsed_s = time.monotonic() - started
            if elapsed_s > _BOOT_TIMEOUT_S:
                raise BrokerError(
                    f"RabbitMQ did not start within {_BOOT_TIMEOUT_S:.0f} s; {complaint(self.log)}"
                )
            progress(f"RabbitMQ is starting ({elapsed_s:.0f} s)")
            await asyncio.sleep(0.05)

    async def _is_ready(self) -> bool:
        """Return whether every listener is up and belongs to this node.

        Raises:
            BrokerError: the node has ended.
            PortUnavailable: a port was taken by another program.
        """
        is_ready = await speaks_amqp(self.ports.amqp) and all(
            has_tls(self.log, port) for port in self._tls_ports()
        )
        if self._epmd is None or self._epmd.poll() is not None:
            raise tcp.PortUnavailable(f"port {self.ports.epmd} was taken by another program")
        if not self.running:
            failure = f"RabbitMQ ended while starting; {complaint(self.log)}"
            taken = port_was_taken(self.log)
            raise tcp.PortUnavailable(failure) if taken else BrokerError(failure)
        return is_ready
