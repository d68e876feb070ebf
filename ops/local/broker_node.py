"""Files, environment and command line of a private RabbitMQ node.

Nothing of the system's own RabbitMQ is read or written: settings, data, logs, Erlang cookie and
the port mapper (epmd) are the node's own, and every port listens on loopback only.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.local.ports import LOOPBACK
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.security.files import write_private

# bin/setup looks in the same places.
_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin", "/opt/rabbitmq/sbin")
_NAME = "postroad@localhost"
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1 section 4.2.2
_METHOD_FRAME = b"\x01"
_COMPLAINT = re.compile(r"\S+ \S+ \[(error|critical)\] <\S+> .*\w")
_MARK = "-postroad_node"  # an argument of ours, by which a node is recognised

# Depths at most a second old, without the management plugin's statistics, which RabbitMQ gives up
# (docs/decisions/0025-depths.md). rabbitmq.conf has no setting for how often quorum queues report.
FRESH_DEPTHS = {
    "collect_statistics_interval": "1000",  # ms; how old counts of consumers may be
    "management.enable_queue_totals": "true",
    "management_agent.disable_metrics_collector": "true",
}
FRESH_DEPTHS_ADVANCED = "[{rabbit, [{quorum_tick_interval, 800}]}].\n"  # ms; by default 5 s
PLUGINS = "[rabbitmq_management, rabbitmq_prometheus].\n"

# Booting reads some 6,000 small files, each handed to another thread and back. A thread that
# sleeps at once in between makes that twice as long; one that looks about for a few microseconds
# first does not, and costs nothing that can be measured when the node is idle.
_ERLANG_FLAGS = ("+sbwt", "very_short", "+sbwtdio", "very_short", "+sbwtdcpu", "none")

# RabbitMQ takes a file's name for a list of bytes in some places, and for one of characters in
# others. With this flag both are the same, whatever the locale (erl(1)); its tools expect UTF-8.
_NAMES_ARE_BYTES = "+fnl"
_TOOLS_LOCALE = "C.UTF-8"


class RabbitMQNotFound(Exception):
    """There is no RabbitMQ on this machine."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a node listens, always on 127.0.0.1."""

    amqp: int
    management: int
    metrics: int
    distribution: int
    epmd: int


def find_program(name: str) -> Path:
    """Find one of RabbitMQ's own scripts.

    The script of that name in a package's /usr/sbin is only a wrapper that changes to the system's
    `rabbitmq` user; the real ones have `rabbitmq-env` beside them.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))
    for folder in path.split(os.pathsep):
        program = Path(folder, name)
        if os.access(program, os.X_OK):
            program = program.resolve()
            if program.name == name and program.with_name("rabbitmq-env").exists():
                return program
    raise RabbitMQNotFound(
        f"{name} is not installed; run bin/setup, or install the package rabbitmq-server"
    )


def find_epmd() -> Path:
    """Find Erlang's port mapper: in PATH, or beside the `erl` that is."""
    erl = shutil.which("erl")
    beside = Path(erl).resolve().with_name("epmd") if erl else None
    found = shutil.which("epmd") or (beside if beside and beside.exists() else None)
    if not found:
        raise RabbitMQNotFound("Erlang's epmd is not installed; install the package erlang-base")
    return Path(found)


@dataclass(frozen=True, slots=True)
class Node:
    """A node's folder, and what is in it."""

    folder: Path
    ports: Ports
    management: bool

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    def used_ports(self) -> list[int]:
        http = [self.ports.management, self.ports.metrics] if self.management else []
        return [self.ports.amqp, self.ports.distribution, self.ports.epmd, *http]

    def argv(self) -> list[str]:
        """Give the command line, with distribution started by the flags.

        Left to itself RabbitMQ starts a second Erlang only to start a port mapper that stays.
        """
        port = str(self.ports.distribution)
        return [
            *(str(find_program("rabbitmq-server")), *_ERLANG_FLAGS, _NAMES_ARE_BYTES),
            *("-sname", _NAME, "-start_epmd", "false"),
            *("-kernel", "inet_dist_listen_min", port, "inet_dist_listen_max", port),
            *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
            *("-kernel", "shutdown_timeout", "2000"),  # the management plugin takes 5 s to stop
            *(_MARK, str(self.folder)),
        ]

    def epmd_argv(self) -> list[str]:
        return [str(find_epmd()), "-port", str(self.ports.epmd), "-address", LOOPBACK]

    def owns(self, command_line: list[str]) -> bool:
        """Tell whether a process is this folder's node, by its arguments."""
        return _MARK in command_line and str(self.folder) in command_line

    def environment(self) -> dict[str, str]:
        """Give the whole environment: no RABBITMQ_ variable of the user's gets in."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": _TOOLS_LOCALE,
            "HOME": str(self.folder),  # where the Erlang cookie is
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any: its own eleven are for the whole machine
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_LOGS": "-",  # to standard output, which is a file of ours
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_NODENAME": _NAME,
            "RABBITMQ_PID_FILE": str(self.pid_file),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes Erlang instead of its parent
        }

    def write(self, definitions: Mapping[str, Any], settings: Mapping[str, str]) -> bool:
        """Write what the node reads at its start, and tell whether it has new definitions."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (cookie := self.folder / ".erlang.cookie").exists():
            write_private(cookie, secrets.token_hex(32))
        loads = self.folder / "definitions.json"
        known = loads.read_text() if loads.exists() else None
        write_private(loads, new := json.dumps(definitions))
        every = {**self._settings(), **settings}
        lines = (f"{key} = {value}\n" for key, value in every.items())
        write_private(self.folder / "rabbitmq.conf", "".join(lines))
        for name, text in (
            ("enabled_plugins", PLUGINS),
            ("advanced.config", FRESH_DEPTHS_ADVANCED),
        ):
            write_private(self.folder / name, text if self.management else "[].\n")
        return new != known

    def _settings(self) -> dict[str, str]:
        management = {
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self.ports.management),
            "prometheus.tcp.ip": LOOPBACK,
            "prometheus.tcp.port": str(self.ports.metrics),
            **FRESH_DEPTHS,
        }
        return {
            "listeners.tcp.1": f"{LOOPBACK}:{self.ports.amqp}",
            "definitions.import_backend": "local_filesystem",
            # in the node's folder, which it starts in: a value here is Latin-1, and ends at a #
            "definitions.local.path": "definitions.json",
            "max_message_size": str(MESSAGE_MAX_BYTES),
            "log.connection.level": "warning",  # not a line for each client that comes and goes
        } | (management if self.management else {})


def complaint(log: Path) -> str:
    """Give what a node's log complains of first, or how it ends: Erlang follows up with pages."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if _COMPLAINT.match(line)]
    return "\n  ".join([f"its log {log} says:", *(errors[:6] or lines[-15:])])


def started_version(log: Path) -> str:
    """Return which RabbitMQ the node's log reports, empty when it does not."""
    found = re.search(r"Starting RabbitMQ (\S+) on Erlang", log.read_text(errors="replace"))
    return found[1] if found else ""


def port_was_taken(log: Path) -> bool:
    """Return whether the node's log reports that a port was already in use."""
    return "eaddrinuse" in log.read_text(errors="replace")


def has_tls(log: Path, port: int) -> bool:
    """Return whether the node's log reports a TLS listener on a port."""
    started = rf"started TLS \(SSL\) listener on \S+:{port}\b"
    return re.search(started, log.read_text(errors="replace")) is not None


async def speaks_amqp(port: int) -> bool:
    """Return whether a node answers on a port; only its TLS listener may still be missing then."""
    with suppress(OSError):  # a time-out is one too
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(_PROTOCOL_HEADER)
                return await reader.read(1) == _METHOD_FRAME
            finally:
                writer.close()
                await writer.wait_closed()
    return False
