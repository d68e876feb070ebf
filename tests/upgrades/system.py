"""One broker, one state folder and one pair of databases, with programs of two releases."""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.local.worker import Program
from ops.services import programs
from postroad.settings import MessagingSettings
from postroad.testing import eventually
from postroad.topology.definitions import Definitions
from postroad.topology.names import VHOST, rpc_queue, work_queue
from tests.e2e import system as e2e
from tests.faults import system as faults
from tests.faults.load import PASSWORD
from tests.support.postgres import running_postgres
from tests.upgrades.balancer import Balancer, Routes
from tests.upgrades.plan import AFTER, BEFORE, BRIDGE, WORKERS
from tests.upgrades.releases import Release

TIMEOUT_S = 10.0  # of a request: two releases start and stop beside it
START_S, STOP_S, LOOK_S = 60.0, 30.0, 0.25
WAITS_MS = (8_000, 2_000, 2_000, 2_000)  # the first outlasts the worker that made it wait
QUEUES = {
    "auth_worker": rpc_queue("auth"),
    "auth_audit": work_queue("auth", "audit"),
    "catalog_worker": rpc_queue("catalog"),
    "catalog_sync": work_queue("catalog", "sync"),
}


class MixedSystem(faults.System):
    """Programs of two releases, and what they share."""

    def __init__(
        self, folder: Path, before: Release, after: Release, databases: Mapping[str, str]
    ) -> None:
        self.releases = {BEFORE: before, AFTER: after}
        self.variables = {
            **faults.SETTINGS,
            "BRIDGE_TIMEOUT_S": str(TIMEOUT_S),
            **{f"{name}_DATABASE_URL": url for name, url in databases.items()},
        }
        super().__init__(folder, faults.Choice())
        self.timeout_s = TIMEOUT_S
        self.auth_url, self.catalog_url = databases["AUTH"], databases["CATALOG"]
        self.bridges = dict(zip((BEFORE, AFTER), (self.port, *ports.free_ports(1)), strict=True))
        self.routes = Routes()
        self.operator = {"username": "operator", "password": PASSWORD}

    def _make_broker(self) -> PrivateBroker:
        with self.state.held("upgrades"):
            self.state.write_services(faults.SERVICES)
        asyncio.run(self._provision(BEFORE))
        return PrivateBroker(self.state.broker_folder, self._provisioned())

    async def _provision(self, release: str) -> None:
        await self.releases[release].run("ops.cli", "provision", "--state", str(self.state.folder))

    def _provisioned(self) -> Definitions:
        """Read what a release has provisioned, with shorter waits and our own user."""
        found: Definitions = json.loads(self.state.definitions_file.read_bytes())
        faults.shorten_waits(found, WAITS_MS)
        faults.let_us_in(found)
        return found

    async def start(self, log: Path, **settings: str) -> None:
        """Start everything of the release before, on databases that it has migrated."""
        await self._start_brokers()
        self.announce()
        upstream = programs.sample_upstream(self.upstream_port)
        self.supervisor.start(e2e.program_with(upstream, log, settings))
        for program in (*WORKERS, BRIDGE):  # which is ready once it knows which sessions ended
            await self.add(program, BEFORE)

    async def migrate(self, release: str) -> None:
        """Bring the databases to a release's schema, by its own code."""
        for module in ("auth_worker.migrate", "catalog_worker.migrate"):
            await self.releases[release].run(module, env=self.variables)

    async def define(self, release: str) -> None:
        """Provision by a release's own command, and have the running broker import it."""
        self._up.close()  # it takes the state folder for itself
        await self._provision(release)
        self.announce()
        self.state.definitions_file.write_text(json.dumps(self._provisioned()))
        await self.import_definitions()

    async def command_of(self, release: str, *arguments: str) -> str:
        """Run a release's `postroad` on this system."""
        return await self.releases[release].run(
            "ops.cli", *arguments, "--state", str(self.state.folder), env=self.variables
        )

    async def add(self, program: str, release: str) -> None:
        """Start a program, and wait until it works.

        Raises:
            AssertionError: it does not in time.
        """
        name = f"{program} {release}"
        consumers = await self._consumers(program)
        if name in self.supervisor.names:
            self.supervisor.scale(name, 1)
        else:
            self.supervisor.start(self._program(program, release, name))

        async def works() -> bool:
            if program == BRIDGE:
                return await _is_ready(f"http://{LOOPBACK}:{self.bridges[release]}")
            return await self._consumers(program) > consumers

        await seen(works, timeout_s=START_S)
        if program == BRIDGE:
            self.routes.ports.append(self.bridges[release])

    async def remove(self, program: str, release: str) -> None:
        """Stop a program as a host does: a bridge gets no more requests, then each a SIGTERM.

        Raises:
            AssertionError: it does not end in time.
        """
        name = f"{program} {release}"
        if program == BRIDGE:
            port = self.bridges[release]
            self.routes.ports.remove(port)
            await eventually(lambda: not self.routes.under_way[port], timeout_s=STOP_S)
        self.supervisor.scale(name, 0)
        await eventually(lambda: not self.supervisor.draining(name), timeout_s=STOP_S)

    def crashes(self) -> dict[str, int]:
        """Count, by program and release, how often one ended unasked."""
        found = {name: self.supervisor.crashes(name) for name in self.supervisor.names}
        return {name: count for name, count in found.items() if count}

    async def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Count the messages that wait in queues."""

        def look() -> dict[str, int]:
            with self.connect() as connection:
                channel = connection.channel()
                declared = {each: channel.queue_declare(each, passive=True) for each in queues}
                return {each: found.method.message_count for each, found in declared.items()}

        return await asyncio.to_thread(look)

    async def _consumers(self, program: str) -> int:
        if program == BRIDGE:
            return 0
        return await asyncio.to_thread(self.consumers, QUEUES[program])

    def _program(self, program: str, release: str, name: str) -> Program:
        found = programs.programs(
            self.state,
            broker_address=self.broker.address,
            upstream=self.upstream_url,
            host=LOOPBACK,
            port=self.bridges[release],
        )
        usual = next(each for each in found if each.name == program)
        chosen = self.releases[release]
        ours = {**self.variables, **chosen.variables, "POSTROAD_ENV": "production"}
        changed = replace(
            usual, name=name, argv=(str(chosen.python), *usual.argv[1:]), has_metrics=False
        )
        return e2e.program_with(changed, self.log, ours)

    def add_users(
        self, passwords: Mapping[str, str], *, roles: tuple[str, ...] = ("user",)
    ) -> None:
        """Add users, and the operator, by the command of the release before."""
        users = [
            {"username": name, "password": password, "roles": roles}
            for name, password in passwords.items()
        ]
        release = self.releases[BEFORE]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([*users, {**self.operator, "roles": ["user", "operator"]}], file)
            file.flush()
            subprocess.run(
                [release.python, "-P", "-m", "ops.cli", "users", "import", file.name],
                env={**os.environ, **self.variables, **release.variables},
                stdout=subprocess.DEVNULL,
                check=True,
            )

    def browser(self) -> httpx.AsyncClient:
        """Make a browser, for which a load balancer chooses the bridge."""
        return httpx.AsyncClient(
            base_url=self.url,
            timeout=self.timeout_s + faults.MORE_PATIENCE_S,
            transport=Balancer(self.routes),
        )

    def settings_of(self, service: str) -> MessagingSettings:
        """Give the settings of one who calls without the bridge."""
        return MessagingSettings(
            broker_urls=(f"amqp://{self.broker.address}/{VHOST}",),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )


async def seen(condition: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
    """Wait until a condition holds that it costs something to look at.

    Raises:
        AssertionError: it does not in time.
    """

    async def look() -> bool:
        if await condition():
            return True
        await asyncio.sleep(LOOK_S)
        return False

    await eventually(look, timeout_s=timeout_s)


async def _is_ready(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(f"{url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False


@asynccontextmanager
async def mixed_system(folder: Path, before: Release, after: Release) -> AsyncIterator[MixedSystem]:
    """Run the release before, on a PostgreSQL, for as long as the context lasts."""
    with running_postgres() as postgres:
        databases = {name: postgres.new_database() for name in ("AUTH", "CATALOG")}
        system = await asyncio.to_thread(MixedSystem, folder, before, after, databases)
        try:
            yield system
        finally:
            await asyncio.shield(system.stop())
