"""The system under a long load: everything on this machine, one process of each program."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from benchmarks.system import READY_TIMEOUT_S, logging_to, sign_in
from ops.commands.provision import provision
from ops.health import selfcheck
from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.local.supervisor import Supervisor
from ops.services import programs
from ops.services.manifests import our_services
from ops.state.folder import StateFolder

SETTINGS = {
    "AUTH_ATTEMPTS_PER_USER": "1000",  # of whom every fourth sign-in fails
    "AUTH_ATTEMPTS_PER_ADDRESS": "10000",
    "AUTH_TOKEN_LIFETIME_S": "60",  # what is remembered of ended sessions goes after that
    "CATALOG_CACHE_FRESH_S": "1",
    "CATALOG_SYNC_PAGE_SIZE": "5",  # of 120 products: 24 jobs a sync
}
# RabbitMQ keeps in memory what is in the log of quorum queues, until its file is full: of 512 MiB
# by default. Here that is so many times in a run.
BROKER = {"raft.wal_max_size_bytes": str(64 * 1024)}

_TOTALS = re.compile(r"^rabbitmq_(connections|channels|queues|consumers) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class System:
    """What runs: where to reach it, and its processes."""

    url: str
    broker: PrivateBroker
    supervisor: Supervisor
    token: str

    def pids(self) -> dict[str, int]:
        """Name the processes that are looked at."""
        names = [name for name in self.supervisor.names if name != "upstream"]
        ours = {name: self.supervisor.pids(name)[0] for name in names}
        return ours | {"rabbitmq": self.broker.pid or 0}

    def totals(self) -> dict[str, int]:
        """Count what the broker has of connections, channels, queues and consumers."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{self.broker.metrics_url}/metrics", timeout=5)
        return {name: int(count) for name, count in _TOTALS.findall(answer.text)}


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[System]:
    """Run the system, and log as in production."""
    state, supervisor = StateFolder(folder), Supervisor()
    upstream_port, port = ports.free_ports(2)
    url = f"http://{LOOPBACK}:{port}"
    with state.held(url):
        wanted = provision(state, our_services())
        broker = PrivateBroker(state.broker_folder, wanted, settings=BROKER, management=True)
        try:
            await broker.start()
            for program in (
                programs.sample_upstream(upstream_port),
                *programs.programs(
                    state,
                    broker_address=broker.address,
                    upstream=f"http://{LOOPBACK}:{upstream_port}",
                    host=LOOPBACK,
                    port=port,
                ),
            ):
                logged = logging_to(program, folder / "services.log")
                supervisor.start(replace(logged, env={**logged.env, **SETTINGS}))
            await selfcheck.answers(f"{url}/readyz", timeout_s=READY_TIMEOUT_S, alive=lambda: None)
            yield System(url, broker, supervisor, await asyncio.to_thread(sign_in, url))
        finally:
            await supervisor.stop()
            await broker.stop()
