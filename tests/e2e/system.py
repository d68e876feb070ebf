"""The whole system as `postroad up` runs it, with a hand on each of its parts."""

import asyncio
import atexit
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import copy, rmtree
from tempfile import mkdtemp
from typing import Any

import httpx
import pika
from pydantic import SecretStr

from auth_worker.passwords import Passwords
from auth_worker.settings import AuthSettings
from auth_worker.tables import SCHEMA as AUTH
from auth_worker.tables import outbox
from auth_worker.users import UserStore
from catalog_worker.tables import SCHEMA as CATALOG
from ops.commands.provision import provision
from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.local.running import addresses
from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.services import programs
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from postroad.broker.rabbitmq import RabbitBroker
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.settings import MessagingSettings
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.outbox import Outbox
from postroad.storage.tables import Schema
from postroad.testing import eventually
from postroad.topology.definitions import with_passwords
from postroad.topology.names import VHOST
from tests.support.nodes import ADMIN, ADMIN_PASSWORD

READY_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
TIMEOUT_S = 2.0  # of the bridge: each test of a lost part waits for it
CHEAP_ARGON2: dict[str, Any] = {
    "argon2_time_cost": 1,
    "argon2_memory_kib": 64,
    "argon2_parallelism": 1,
}


class System:
    """Broker, sample upstream, all workers and the bridge, in a state folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder)
        self.supervisor = Supervisor(drain_grace_s=10)
        self.allowed = our_services()
        self.upstream_port, self.port = ports.free_ports(2)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.upstream_url = f"http://{LOOPBACK}:{self.upstream_port}"
        self.broker = self._make_broker()
        self._up = ExitStack()

    def _make_broker(self) -> PrivateBroker:
        with self.state.held("tests"):
            wanted = provision(self.state, self.allowed)
        wanted["users"] += with_passwords(
            {"users": [{"name": ADMIN, "tags": []}]}, {ADMIN: ADMIN_PASSWORD}
        )["users"]
        wanted["permissions"].append(
            {"user": ADMIN, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        )
        return PrivateBroker(self.state.broker_folder, wanted)

    @property
    def amqp_port(self) -> int:
        return self.broker.ports.amqp

    def connect(self, user: str = ADMIN) -> pika.BlockingConnection:
        """Connect to the broker by hand: as a service, or as one who may do everything."""
        password = ADMIN_PASSWORD if user == ADMIN else self.state.password(user)
        parameters = pika.ConnectionParameters(
            host=LOOPBACK,
            port=self.amqp_port,
            virtual_host=VHOST,
            credentials=pika.PlainCredentials(user, password),
        )
        return pika.BlockingConnection(parameters)

    def keys(self, service: str) -> KeyRing:
        """Read a service's keys as they are now."""
        return KeyRing.load(self.state.identity_file(service), self.state.trust_file)

    @asynccontextmanager
    async def calling_as(self, service: str) -> AsyncIterator[Client]:
        """Call the workers as a service does, past the bridge and its checks."""
        settings = MessagingSettings(
            broker_urls=(f"amqp://{self.broker.address}/{VHOST}",),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )
        client = Client(RabbitBroker(settings, service), self.keys(service))
        await client.start()
        await eventually(lambda: client.is_connected)
        try:
            yield client
        finally:
            await client.close()

    async def command(self, *arguments: str) -> None:
        """Run the `postroad` command on this system."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", *arguments, "--state", str(self.state.folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        assert await asyncio.wait_for(process.wait(), COMMAND_TIMEOUT_S) == 0

    def open_database(self) -> Database:
        """Open the database of users and sessions; the caller closes it."""
        return Database(f"sqlite:///{self.state.users_file}")

    def add_user(self, username: str, password: str, *, roles: tuple[str, ...] = ("user",)) -> None:
        """Add a user, as the `postroad users` command does."""
        self.add_users({username: password}, roles=roles)

    def add_users(
        self, passwords: Mapping[str, str], *, roles: tuple[str, ...] = ("user",)
    ) -> None:
        """Add users, each with a password."""
        hasher = Passwords(AuthSettings(database_url=SecretStr("unused"), **CHEAP_ARGON2))
        with closing(self.open_database()) as database:
            users = UserStore(database, Outbox(outbox))
            for username, password in passwords.items():
                users.add(username, hasher.hash(password), roles=roles)

    def consumers(self, queue: str) -> int:
        """Count who consumes a queue."""
        with self.connect() as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.consumer_count)

    async def start(self, log: Path, **settings: str) -> None:
        """Start everything; the services log JSON to a file."""
        for schema, file in (AUTH, self.state.users_file), (CATALOG, self.state.catalog_file):
            copy(migrated(schema), file)
        await self.broker.start()
        self.announce()
        for program in (
            programs.sample_upstream(self.upstream_port),
            *programs.programs(
                self.state,
                broker_address=self.broker.address,
                upstream=self.upstream_url,
                host=LOOPBACK,
                port=self.port,
            ),
        ):
            self.supervisor.start(program_with(program, log, settings))
        await until_ready(self.url)

    def announce(self) -> None:
        """Let commands find it, as `postroad up` does."""
        self._up.enter_context(self.state.held(self.url))
        self.state.write_running(addresses(self.url, self.broker))

    async def stop(self) -> None:
        self._up.close()
        await self.supervisor.stop()
        await self.broker.stop()

    async def make_upstream(self, **faults: object) -> None:
        """Tell the sample upstream how to misbehave; nothing: not at all."""
        async with httpx.AsyncClient() as http:
            response = await http.put(f"{self.upstream_url}/faults", json=faults)
        assert response.status_code < 300, response.text

    async def change_products(self, **changes: object) -> None:
        """Change what the sample upstream sells; nothing: as it was at the start."""
        async with httpx.AsyncClient() as http:
            response = await http.put(f"{self.upstream_url}/changes", json=changes)
        assert response.status_code < 300, response.text


@cache
def migrated(schema: Schema) -> Path:
    """Make a database once that each system begins with; its processes would all do so at once."""
    file = Path(mkdtemp(prefix="postroad-")) / "migrated.db"
    migrate(f"sqlite:///{file}", schema)
    atexit.register(rmtree, file.parent)
    return file


def program_with(program: Program, log: Path, settings: dict[str, str]) -> Program:
    """Have a program write its log to a file."""
    command = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log), *program.argv]
    env = {**program.env, "LOG_FORMAT": "json", **settings}
    return replace(program, argv=command, env=env)


async def until_ready(url: str) -> None:
    async with httpx.AsyncClient() as http:

        async def is_ready() -> bool:
            try:
                return (await http.get(f"{url}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(is_ready, timeout_s=READY_TIMEOUT_S)


@asynccontextmanager
async def running_system(folder: Path, **settings: str) -> AsyncIterator[System]:
    """Run a system for as long as the context lasts, some of its settings changed."""
    system = System(folder)
    log = folder / "services.log"
    usual = {
        "BRIDGE_TIMEOUT_S": str(TIMEOUT_S),
        "CATALOG_CACHE_FRESH_S": "0",
        "CATALOG_CACHE_REFRESH_S": "0",
        "CATALOG_CACHE_STALE_S": "0",
        "CATALOG_BREAKER_REST_S": "1",
        **{f"AUTH_{name}".upper(): str(value) for name, value in CHEAP_ARGON2.items()},
    }
    try:
        await system.start(log, **usual | settings)
        yield system
    finally:
        await system.stop()


def log_lines(folder: Path) -> list[dict[str, object]]:
    """Read what the services have logged."""
    lines = (folder / "services.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
