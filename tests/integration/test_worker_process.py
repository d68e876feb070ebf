"""A worker process that dies, or is told to end, while it holds a request."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.contracts.auth import CreateSession
from postroad.contracts.errors import InvalidCredentials
from postroad.security.keyring import KeyRing
from postroad.testing import calling, eventually, serving
from tests.support.brokers import RabbitUnderTest
from tests.support.services import SESSION, SIGN_IN, sign_in
from tests.support.slow_worker import HOLDS
from tests.support.vhosts import PASSWORD
from tests.support.wheels import Environment, build_wheel

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LONGER_THAN_THE_TEST_S = 600.0
TIMEOUT_S = 20.0


class WorkerFiles:
    """Where a worker process finds what it needs."""

    def __init__(self, folder: Path, broker: RabbitUnderTest, keys: KeyRing) -> None:
        self.identity, self.trust, self.password = (
            folder / name for name in ("auth.json", "trust.json", "password")
        )
        keys.identity.save(self.identity)
        self.trust.write_text(keys.trust.model_dump_json())
        self.password.write_text(PASSWORD)
        self.url = f"amqp://127.0.0.1:{broker.node.amqp_port}/{broker.vhost}"

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "BROKER_URLS": self.url,
            "BROKER_PASSWORD_FILE": str(self.password),
            "IDENTITY_FILE": str(self.identity),
            "TRUST_FILE": str(self.trust),
        }


@pytest.fixture
def files(tmp_path: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]) -> WorkerFiles:
    folder = tmp_path / "worker"
    folder.mkdir()
    return WorkerFiles(folder, rabbit_broker, keys["auth"])


@asynccontextmanager
async def slow_worker(files: WorkerFiles, *, takes_s: float) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.slow_worker", str(takes_s)),
        cwd=ROOT,
        env=files.environment(),
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def holds_a_request(process: Process) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        while await process.stdout.readline() != HOLDS:
            assert not process.stdout.at_eof(), "the worker process ended"


WORKER = """
from postroad import serve
from postroad.contracts.auth import CreateSession
from postroad.contracts.errors import InvalidCredentials

async def refuse(request):
    raise InvalidCredentials("nobody is let in")

serve({CreateSession: refuse}, follows_revocations=False)
"""


async def test_a_worker_runs_with_the_worker_extra_alone(
    files: WorkerFiles, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], tmp_path: Path
) -> None:
    installed = Environment.create(tmp_path / "venv")
    await asyncio.to_thread(installed.install, build_wheel(tmp_path), extra="[worker]")
    command = (installed.python, "-c", WORKER)

    worker = await asyncio.create_subprocess_exec(
        *command, env=files.environment(), stdout=PIPE, stderr=PIPE
    )
    async with calling(rabbit_broker, keys["bridge"]) as client:
        with pytest.raises(InvalidCredentials, match="nobody is let in"):
            await client.call(SIGN_IN, timeout_s=TIMEOUT_S)  # it waits until the worker is there
    worker.terminate()
    _, errors = await asyncio.wait_for(worker.communicate(), TIMEOUT_S)

    measured = await asyncio.create_subprocess_exec(
        *command, env=files.environment() | {"METRICS_PORT": "0"}, stdout=PIPE, stderr=PIPE
    )
    _, refused = await asyncio.wait_for(measured.communicate(), TIMEOUT_S)

    assert (worker.returncode, errors) == (0, b"")
    assert measured.returncode == 1
    assert refused.decode() == (
        "cannot start: METRICS_PORT: "
        "prometheus_client is missing: pip install 'postroad[metrics]'\n"
    )


async def test_another_worker_answers_what_a_killed_one_held(
    files: WorkerFiles, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    async with (
        calling(rabbit_broker, keys["bridge"]) as client,
        slow_worker(files, takes_s=LONGER_THAN_THE_TEST_S) as process,
    ):
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=TIMEOUT_S))
        await holds_a_request(process)
        async with serving(rabbit_broker, keys["auth"], {CreateSession: sign_in}) as other:
            process.kill()
            await process.wait()  # a second kill would take its status from asyncio

            assert await call == SESSION
            await eventually(lambda: other.counts == {"ok": 1})  # counted after it has answered


async def test_a_worker_told_to_end_answers_what_it_holds_first(
    files: WorkerFiles, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    async with (
        calling(rabbit_broker, keys["bridge"]) as client,
        slow_worker(files, takes_s=0.5) as process,
    ):
        call = asyncio.create_task(client.call(SIGN_IN, timeout_s=TIMEOUT_S))
        await holds_a_request(process)

        process.send_signal(signal.SIGTERM)

        assert await call == SESSION
        assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0
