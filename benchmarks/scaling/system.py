"""The system under load: everything on this machine, with the autoscaler of `postroad up`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.system import READY_TIMEOUT_S, logging_to, sign_in
from ops.commands.provision import provision
from ops.health import selfcheck
from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.scaling.management_api import Management
from ops.scaling.traffic import Traffic
from ops.services import programs
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from postroad.topology.names import SCALER

LOG = "services.log"
_PLAIN = {
    "CATALOG_CACHE_FRESH_S": "0",
    "CATALOG_CACHE_REFRESH_S": "0",
    "CATALOG_CACHE_STALE_S": "0",
}


@dataclass(frozen=True, slots=True)
class System:
    """What runs: where to reach it, and a hand on its processes."""

    url: str
    token: str
    state: StateFolder
    supervisor: Supervisor
    management: Management
    traffic: Traffic


@asynccontextmanager
async def running(
    folder: Path,
    *,
    products: int,
    delay_ms: int,
    settings: Mapping[str, Mapping[str, str]],
    replicas: Mapping[str, int],
) -> AsyncIterator[System]:
    """Run the system, each answer fetched upstream.

    Args:
        settings: environment variables by program.
        replicas: how many processes of each program to begin with; one where it does not say.
    """
    state, supervisor = StateFolder(folder), Supervisor()
    upstream_port, port = ports.free_ports(2)
    url = f"http://{LOOPBACK}:{port}"
    with state.held(url):
        broker = PrivateBroker(
            state.broker_folder,
            provision(state, our_services()),
            management=True,
        )
        try:
            await broker.start()
            for program in (
                _upstream(upstream_port, products=products, delay_ms=delay_ms),
                *programs.programs(
                    state,
                    broker_address=broker.address,
                    upstream=f"http://{LOOPBACK}:{upstream_port}",
                    host=LOOPBACK,
                    port=port,
                ),
            ):
                logged = logging_to(program, folder / LOG)
                env = {**logged.env, **_PLAIN, **settings.get(program.name, {})}
                supervisor.start(replace(logged, env=env), replicas=replicas.get(program.name, 1))
            await selfcheck.answers(f"{url}/readyz", timeout_s=READY_TIMEOUT_S, alive=lambda: None)
            token = await asyncio.to_thread(sign_in, url)
            management = Management(broker.management_url, state.password(SCALER))
            traffic = Traffic(broker.metrics_url)
            yield System(url, token, state, supervisor, management, traffic)
        finally:
            await supervisor.stop()
            await broker.stop()


def _upstream(port: int, *, products: int, delay_ms: int) -> Program:
    program = programs.sample_upstream(port)
    arguments = program.argv[program.argv.index("sample_api") + 1 :]
    module = ("-m", "benchmarks.scaling.upstream")  # not installed: found in the current folder
    argv = [program.argv[0], *module, *arguments, "--products", str(products)]
    return replace(
        program, argv=argv, env={**program.env, "SAMPLE_UPSTREAM_DELAY_MS": str(delay_ms)}
    )
