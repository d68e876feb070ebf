"""Processes that follow a real queue, and the command that shows it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.scaling.autoscaler import Autoscaler
from ops.scaling.management_api import DepthUnknown, Management
from ops.scaling.policy import Policy, ScaleDown
from ops.scaling.reporter import keep_report
from ops.services import programs
from ops.state.folder import StateFolder
from ops.terminal.interrupts import INTERRUPTED
from postroad.broker.rabbitmq import RabbitBroker
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.settings import MessagingSettings
from postroad.testing import eventually
from postroad.topology.names import SCALER, VHOST
from tests.support.provisioned import ProvisionedBroker, Setup, provisioned_broker
from tests.support.services import SESSION, SIGN_IN
from tests.support.slow_worker import HOLDS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0
TAKES_S = 0.7
URL = "http://127.0.0.1:1"  # where the bridge would be


class Scaled:
    """A broker, a slow worker of `rpc.auth`, and what scales it."""

    def __init__(self, state: StateFolder, broker: ProvisionedBroker, log: Path) -> None:
        self.state = state
        self.broker = broker
        self.log = log
        self.supervisor = Supervisor(drain_grace_s=10)
        self.management = Management(self.broker.management_url, self.state.password(SCALER))

    def environment(self, service: str) -> dict[str, str]:
        return programs.messaging_environment(self.state, service, self.broker.address)

    def start_worker(self, replicas: int) -> None:
        self.log.touch()
        script = f'exec "$@" >>"{self.log}" 2>&1'
        command = (sys.executable, "-m", "tests.support.slow_worker", str(TAKES_S))
        env = {**os.environ, **self.environment("auth"), "PREFETCH": "1", "PYTHONPATH": str(ROOT)}
        program = Program("slow_worker", ("/bin/sh", "-c", script, "sh", *command), env)
        self.supervisor.start(program, replicas=replicas)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Client]:
        fields = {name.lower(): value for name, value in self.environment("bridge").items()}
        settings = MessagingSettings.model_validate(fields)
        keys = KeyRing.load(settings.identity_file, settings.trust_file)
        client = Client(RabbitBroker(settings, "bridge"), keys)
        await client.start()
        await eventually(lambda: client.is_connected)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def scaling(self, *, least: int, window_s: int) -> AsyncIterator[Autoscaler]:
        """Follow the queue as `postroad up` does, and tell other commands."""
        policy = Policy(
            program="slow_worker",
            queue="rpc.auth",
            value=2,
            min_replicas=least,
            max_replicas=4,
            polling_s=1,
            cooldown_s=1,
            down=ScaleDown(stabilization_window_seconds=window_s),
        )
        policies = {policy.program: policy}
        autoscaler = Autoscaler(
            policies.values(), depths=self.management, processes=self.supervisor
        )
        tasks = [
            asyncio.create_task(autoscaler.run()),
            asyncio.create_task(keep_report(self.state, self.supervisor, policies, autoscaler)),
        ]
        try:
            yield autoscaler
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def replicas(self) -> int:
        return self.supervisor.replicas("slow_worker")

    async def counts_nothing(self) -> None:
        """Wait until what an earlier test left has expired or was taken."""

        async def is_empty() -> bool:
            return await self.management.depth("rpc.auth") == 0

        await eventually(is_empty, timeout_s=TIMEOUT_S)

    async def status(self, *arguments: str) -> str:
        """Run the command."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "status", "--state", str(self.state.folder)),
            *arguments,
            stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateFolder]:
    state = StateFolder(tmp_path_factory.mktemp("state"))
    with state.held(URL):
        yield state


@pytest.fixture(scope="module")
def broker(
    state: StateFolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProvisionedBroker]:
    """A broker such as `postroad up` starts, for all tests here."""
    allowed = programs.allowed_services(state)
    programs.write_trust(state, allowed)
    definitions = programs.broker_definitions(state, allowed)
    with provisioned_broker(tmp_path_factory.mktemp("broker"), Setup(definitions)) as broker:
        ports = asdict(broker.ports)
        state.write_running({"http": URL, "amqp": broker.address, "broker": ports})
        yield broker


@pytest.fixture
async def scaled(
    state: StateFolder, broker: ProvisionedBroker, tmp_path: Path
) -> AsyncIterator[Scaled]:
    scaled = Scaled(state, broker, tmp_path / "worker.log")
    await scaled.counts_nothing()
    yield scaled
    await scaled.supervisor.stop()


def calls(client: Client, count: int) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(client.call(SIGN_IN, timeout_s=TIMEOUT_S)) for _ in range(count)]


async def test_a_growing_queue_gets_processes_that_drain_once_it_is_empty(
    scaled: Scaled,
) -> None:
    scaled.start_worker(1)
    async with scaled.calling() as client, scaled.scaling(least=1, window_s=0) as autoscaler:
        asked = calls(client, 16)

        await eventually(lambda: scaled.replicas() == 4, timeout_s=TIMEOUT_S)
        assert await asyncio.gather(*asked) == [SESSION] * 16
        await eventually(lambda: scaled.replicas() == 1, timeout_s=TIMEOUT_S)
        await eventually(lambda: not scaled.supervisor.draining("slow_worker"), timeout_s=TIMEOUT_S)

        assert scaled.log.read_bytes().count(HOLDS) == 16  # nobody's work was done twice
        assert scaled.supervisor.crashes("slow_worker") == 0
        assert any(change.reason.endswith("at most 4") for change in autoscaler.changes)


async def test_a_background_queue_has_no_process_until_there_is_something_to_do(
    scaled: Scaled,
) -> None:
    scaled.start_worker(0)
    async with scaled.calling() as client, scaled.scaling(least=0, window_s=60) as autoscaler:
        assert await client.call(SIGN_IN, timeout_s=TIMEOUT_S) == SESSION
        await eventually(lambda: scaled.replicas() == 0, timeout_s=TIMEOUT_S)

        assert [(change.before, change.after) for change in autoscaler.changes] == [(0, 1), (1, 0)]
        assert [change.reason for change in autoscaler.changes] == [
            "1 message and no process: the first",
            "0 messages, and nothing to do for 1 s: none",
        ]


async def test_status_shows_the_running_system(scaled: Scaled) -> None:
    scaled.start_worker(1)
    async with scaled.calling() as client, scaled.scaling(least=1, window_s=60) as autoscaler:
        asked = calls(client, 16)
        await eventually(lambda: scaled.replicas() == 4, timeout_s=TIMEOUT_S)
        await eventually(lambda: len(scaled.supervisor.pids("slow_worker")) == 4)
        reasons = [change.reason for change in autoscaler.changes]

        async def is_reported() -> bool:
            seen = json.loads(await scaled.status("--json"))
            return len(seen["programs"]["slow_worker"]["pids"]) == 4

        await eventually(is_reported, timeout_s=TIMEOUT_S)
        seen = json.loads(await scaled.status("--json"))
        text = await scaled.status()
        await asyncio.gather(*asked)

    queues = {queue["name"]: queue for queue in seen["queues"]}
    kinds = [name.partition(".")[0] for name in queues]
    assert list(dict.fromkeys(kinds)) == ["rpc", "work", "wait", "dead"]
    assert {"rpc.auth", "work.catalog.sync", "wait.1", "dead.rpc.auth"} <= queues.keys()
    worker = seen["programs"]["slow_worker"]
    assert (worker["wanted"], worker["least"], worker["most"]) == (4, 1, 4)
    assert [each["reason"] for each in seen["changes"]] == reasons
    assert reasons[-1] in text
    assert "\x1b" not in text


async def test_watching_the_status_ends_cleanly(scaled: Scaled) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "status", "--json", "--watch"),
        *("--state", str(scaled.state.folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    for _ in range(2):
        assert json.loads(await process.stdout.readline())["problem"] is None

    process.send_signal(signal.SIGINT)
    _, complaints = await process.communicate()

    assert process.returncode == INTERRUPTED
    assert complaints == b""


async def test_the_scaler_may_count_and_do_nothing_else(scaled: Scaled) -> None:
    assert await scaled.management.depth("rpc.auth") == 0
    with pytest.raises(DepthUnknown, match=r"no queue rpc\.nobody"):
        await scaled.management.depth("rpc.nobody")

    granted = await scaled.broker.ctl("list_permissions", "-p", VHOST, "--no-table-headers")

    assert f"{SCALER}\t^$\t^$\t^$" in granted.splitlines()
    with pytest.raises(DepthUnknown, match="answers 401"):
        await Management(scaled.broker.management_url, "guess").depth("rpc.auth")
