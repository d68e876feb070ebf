"""Our own system under load: one bridge, one catalogue worker, one RabbitMQ node, all of it on."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from benchmarks.load import Target
from ops.commands.provision import provision
from ops.health import selfcheck
from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.services import programs
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from postroad.topology.names import VHOST

READY_TIMEOUT_S = 60.0
CREDENTIALS = {"username": "admin", "password": "admin"}
GUEST = "peer"  # the peers' user at the broker, who may do everything in their virtual hosts
LOG = "services.log"
SETTINGS = {  # log as in production, and keep answers in the cache throughout
    "LOG_FORMAT": "json",
    "CATALOG_CACHE_FRESH_S": "3600",
    "AUTH_TOKEN_LIFETIME_S": "3600",
}


@dataclass(frozen=True, slots=True)
class System:
    """What runs: where to reach it, and a hand on its processes."""

    folder: Path
    url: str
    token: str
    state: StateFolder
    supervisor: Supervisor
    broker: PrivateBroker

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def processes(self) -> dict[str, list[int]]:
        """Name the processes that a listing takes, with their ids."""
        return {
            "bridge": self.supervisor.pids("http_bridge"),
            "worker": self.supervisor.pids("catalog_worker"),
            "rabbitmq": [self.broker.pid or 0],
        }

    def target(self, path: str = "/products?limit=30", name: str = "postroad") -> Target:
        return Target(name, f"{self.url}{path}", self.headers, self.processes)

    def broker_url(self, virtual_host: str) -> str:
        """Give the address of a virtual host for peers, with user and password in it."""
        return f"amqp://{GUEST}:{self.state.password(GUEST)}@{self.broker.address}/{virtual_host}"


@asynccontextmanager
async def running(
    folder: Path,
    *,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    replicas: Mapping[str, int] | None = None,
    has_metrics: bool = True,
    upstream: Program | None = None,
    virtual_hosts: Iterable[str] = (),
) -> AsyncIterator[System]:
    """Run the whole system.

    Args:
        settings: environment variables by program.
        replicas: how many processes of each program; one where it does not say.
        has_metrics: whether each program serves its metrics, as it does under `postroad up`.
        upstream: what to start instead of the sample product API; ``{port}`` is put in.
        virtual_hosts: of peers, on the same broker; with one user that may do everything there.
    """
    state, supervisor = StateFolder(folder), Supervisor()
    upstream_port, port = ports.free_ports(2)
    url = f"http://{LOOPBACK}:{port}"
    with state.held(url):
        definitions = provision(state, our_services())
        broker = PrivateBroker(
            state.broker_folder, with_guests(definitions, state.password(GUEST), virtual_hosts)
        )
        try:
            await broker.start()
            for program in (
                _at(upstream, upstream_port)
                if upstream
                else programs.sample_upstream(upstream_port),
                *programs.programs(
                    state,
                    broker_address=broker.address,
                    upstream=f"http://{LOOPBACK}:{upstream_port}",
                    host=LOOPBACK,
                    port=port,
                ),
            ):
                logged = logging_to(program, folder / LOG)
                env = {**logged.env, **(settings or {}).get(program.name, {})}
                count = (replicas or {}).get(program.name, 1)
                served = logged.has_metrics and has_metrics
                supervisor.start(replace(logged, env=env, has_metrics=served), replicas=count)
            await selfcheck.answers(f"{url}/readyz", timeout_s=READY_TIMEOUT_S, alive=lambda: None)
            token = await asyncio.to_thread(sign_in, url)
            yield System(folder, url, token, state, supervisor, broker)
        finally:
            await supervisor.stop()
            await broker.stop()


def with_guests(
    definitions: Mapping[str, Any], password: str, virtual_hosts: Iterable[str]
) -> dict[str, Any]:
    """Add virtual hosts, and a user who may do everything in them, to what a broker imports."""
    hosts = list(virtual_hosts)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        **definitions,
        "vhosts": [{"name": VHOST}, *({"name": host} for host in hosts if host != VHOST)],
        "users": [*definitions["users"], {"name": GUEST, "password": password, "tags": []}],
        "permissions": [
            *definitions["permissions"],
            *({"user": GUEST, "vhost": host} | everything for host in hosts),
        ],
    }


def sign_in(url: str) -> str:
    response = requests.post(f"{url}/auth", json=CREDENTIALS, timeout=10)
    return str(response.json()["access_token"])


def logging_to(program: Program, log: Path) -> Program:
    """Have a program write to a file, with the settings of all benchmarks."""
    command = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log), *program.argv]
    return replace(program, argv=command, env={**program.env, **SETTINGS})


def _at(program: Program, port: int) -> Program:
    return replace(program, argv=[part.replace("{port}", str(port)) for part in program.argv])
