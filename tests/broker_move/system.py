"""A system whose programs know two brokers, and what a person does to move it."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika

from ops.local.ports import LOOPBACK
from ops.local.worker import Program
from ops.moving.overlays import OPEN, SHUT
from ops.moving.survey import login_at
from ops.services import grants, programs
from ops.services.operator import OPERATOR, operator_rights
from postroad.broker.moving.looking import look
from postroad.settings import MessagingSettings
from postroad.topology.names import VHOST
from tests.e2e import system as e2e
from tests.faults.system import PROGRAM_REPLICAS, Choice, System
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, Node

AUDIT_PROGRAM = "auth_audit"


class MovingSystem(System):
    """What `postroad up` runs, each program with both brokers in its BROKER_URLS."""

    def __init__(self, folder: Path, new: Node) -> None:
        super().__init__(folder, Choice())
        self.new = new
        self.old_url = f"amqp://{self.broker.address}/{VHOST}"
        self.new_url = f"amqp://{LOOPBACK}:{new.amqp_port}/{VHOST}"
        self._audit: Program | None = None

    def _note_more(self) -> None:
        grants.note(self.state, OPERATOR, operator_rights())

    async def start(self, log: Path, **settings: str) -> None:
        """Start everything but who works off the audit."""
        await self._start_brokers()
        self._up.enter_context(self.state.held(self.url))
        given = settings | {"BROKER_URLS": f"{self.old_url},{self.new_url}"}
        upstream = programs.sample_upstream(self.upstream_port)
        self.supervisor.start(e2e.program_with(upstream, log, {}))
        for program in programs.programs(
            self.state,
            broker_address=self.broker.address,
            upstream=self.upstream_url,
            host=LOOPBACK,
            port=self.port,
        ):
            logged = e2e.program_with(program, log, given)
            if program.name == AUDIT_PROGRAM:
                self._audit = logged
            else:
                replicas = PROGRAM_REPLICAS.get(program.name, 1)
                self.supervisor.start(logged, replicas=replicas)
        await e2e.until_ready(self.url)

    def start_audit(self) -> None:
        """Begin to work off what waits for the audit."""
        assert self._audit is not None
        self.supervisor.start(self._audit)

    def settings_of(self, service: str) -> MessagingSettings:
        return MessagingSettings(
            broker_urls=(self.old_url, self.new_url),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )

    async def prepare(self) -> None:
        """Write what both brokers import, and have the new one let nobody in."""
        await self.command("move-broker", "prepare")
        await self.tell_new(SHUT)

    async def tell_old(self, overlay: str) -> None:
        await self.broker.ctl("import_definitions", str(self.state.broker_folder / overlay))

    async def tell_new(self, overlay: str) -> None:
        wanted = json.loads((self.state.broker_folder / overlay).read_bytes())
        wanted["users"] = [user for user in wanted["users"] if user["name"] != ADMIN]
        await asyncio.to_thread(self.new.management.import_definitions, wanted)

    async def go(self) -> None:
        """Let everybody in at the new broker, and send them there."""
        await self.tell_old(SHUT)
        await self.tell_new(OPEN)
        await self.broker.ctl("close_all_connections", "--vhost", VHOST, "moved")

    async def go_back(self) -> None:
        """Do the same the other way round."""
        await self.tell_new(SHUT)
        await self.tell_old(OPEN)
        await self.new.ctl("close_all_connections", "--vhost", VHOST, "moved")

    async def depth(self, queue: str, *, at_new: bool = False) -> int:
        """Count what waits in a queue of one of the brokers."""
        return await asyncio.to_thread(self._depth, queue, self._port(at_new=at_new))

    def _port(self, *, at_new: bool) -> int:
        return self.new.amqp_port if at_new else self.broker.ports.amqp

    def _depth(self, queue: str, port: int) -> int:
        with connect(port) as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)

    def new_version(self) -> str:
        """Return which RabbitMQ it moves to."""
        return look(login_at(self.state, self.new_url, OPERATOR)).version

    @contextmanager
    def carrying(self, log: Path, *, is_back: bool) -> Iterator[subprocess.Popen[bytes]]:
        """Run `postroad move-broker carry`; whoever does not wait for it, kills it."""
        old, new = (self.new_url, self.old_url) if is_back else (self.old_url, self.new_url)
        argv = [sys.executable, "-m", "ops.cli", "move-broker", "carry", "--from", old, "--to", new]
        argv += ["--state", str(self.state.folder)]
        with log.open("ab") as output:
            process = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def connect(port: int) -> pika.BlockingConnection:
    """Connect by hand, as one who may do everything and is never shut out."""
    credentials = pika.PlainCredentials(ADMIN, ADMIN_PASSWORD)
    return pika.BlockingConnection(pika.ConnectionParameters(LOOPBACK, port, VHOST, credentials))
