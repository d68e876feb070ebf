"""What is measured: the whole system, and the baseline, each with its processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from benchmarks.environments import prepare_environment
from ops import ports, processes, selfcheck, services
from ops.broker import PrivateBroker
from ops.ports import LOOPBACK
from ops.provision import provision
from ops.state import State
from ops.supervisor import Program, Supervisor
from shared.messaging.services import load_services

HERE = Path(__file__).parent
READY_TIMEOUT_S = 60.0
CREDENTIALS = {"username": "admin", "password": "admin"}


@dataclass(frozen=True, slots=True)
class Target:
    """Something to load: where, with which headers, and whose CPU time counts."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, list[int]]


@asynccontextmanager
async def postroad(folder: Path, **settings: str) -> AsyncIterator[Target]:
    """Run the whole system: one bridge, one catalogue worker, one RabbitMQ node."""
    state, supervisor = State(folder), Supervisor()
    allowed = load_services(services.SERVICES_FILE)
    upstream_port, port = ports.free_ports(2)
    url = f"http://{LOOPBACK}:{port}"
    with state.held(url):
        broker = PrivateBroker(state.broker_folder, provision(state, allowed))
        try:
            await broker.start()
            for program in (
                services.sample_upstream(upstream_port),
                *services.programs(
                    state,
                    broker_address=broker.address,
                    upstream=f"http://{LOOPBACK}:{upstream_port}",
                    host=LOOPBACK,
                    port=port,
                ),
            ):
                supervisor.start(logging_to(program, folder / "services.log", settings))
            await selfcheck.answers(f"{url}/readyz", timeout_s=READY_TIMEOUT_S, alive=lambda: None)
            token = await asyncio.to_thread(sign_in, url)
            pids = {name: supervisor.pids(name) for name in ("http_bridge", "catalog_worker")}
            yield Target(
                "postroad",
                f"{url}/products?limit=30",
                {"Authorization": f"Bearer {token}"},
                pids | {"rabbitmq": [broker.pid or 0]},
            )
        finally:
            await supervisor.stop()
            await broker.stop()


def sign_in(url: str) -> str:
    response = requests.post(f"{url}/auth", json=CREDENTIALS, timeout=10)
    return str(response.json()["access_token"])


def logging_to(program: Program, log: Path, others: Mapping[str, str] | None = None) -> Program:
    """Log as in production, JSON to a file, and keep answers in the cache throughout."""
    command = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log), *program.argv]
    settings = {"LOG_FORMAT": "json", "CATALOG_CACHE_FRESH_S": "3600"}
    return replace(program, argv=command, env={**program.env, **settings, **(others or {})})


@asynccontextmanager
async def flask_without_broker(folder: Path, page: bytes) -> AsyncIterator[Target]:
    """Run Flask on gunicorn, one process with threads, answering the same page from memory."""
    python = prepare_environment(folder / "flask", HERE / "requirements.txt")
    (folder / "page.json").write_bytes(page)
    (port,) = ports.free_ports(1)
    with (folder / "flask.log").open("wb") as log:
        child = processes.spawn(
            [
                *(python, "-m", "gunicorn", "--chdir", HERE, "--bind", f"{LOOPBACK}:{port}"),
                *("--workers", "1", "--threads", "8", "--log-level", "warning"),
                "baseline:app",
            ],
            env={**os.environ, "BASELINE_PAGE": str(folder / "page.json")},
            output=log,
        )
        url = f"http://{LOOPBACK}:{port}/products"
        try:
            await selfcheck.answers(url, timeout_s=READY_TIMEOUT_S, alive=lambda: None)
            yield Target("flask", url, {}, {"gunicorn": [child.pid]})
        finally:
            await processes.stop(child, grace_s=5)
