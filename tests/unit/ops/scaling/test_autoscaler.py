"""The autoscaler, with depths and processes that the tests make up."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.scaling.autoscaler import Autoscaler
from ops.scaling.management_api import DepthUnknown
from ops.scaling.policy import Policy, ScaleDown
from ops.scaling.rule import Memory
from postroad.testing import eventually

AT_ONCE = ScaleDown(stabilization_window_seconds=0)
CATALOG = Policy(
    program="catalog_worker",
    queue="rpc.catalog",
    value=20,
    min_replicas=1,
    max_replicas=4,
    polling_s=1,
    down=AT_ONCE,
)
AUTH = Policy(
    program="auth_worker", queue="rpc.auth", value=4, min_replicas=1, max_replicas=4, polling_s=1
)


@dataclass
class Depths:
    """Queues as deep as a test says."""

    depths: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def depth(self, queue: str) -> int:
        self.asked.append(queue)
        if queue not in self.depths:
            raise DepthUnknown(f"nobody knows {queue}")
        return self.depths[queue]


@dataclass
class Processes:
    """Processes that are only counted."""

    counts: dict[str, int]

    def replicas(self, name: str) -> int:
        return self.counts[name]

    def scale(self, name: str, replicas: int) -> None:
        self.counts[name] = replicas


@pytest.fixture
def depths() -> Depths:
    return Depths({"rpc.catalog": 0, "rpc.auth": 0})


@pytest.fixture
def processes() -> Processes:
    return Processes({"catalog_worker": 1, "auth_worker": 1})


@pytest.fixture
def autoscaler(depths: Depths, processes: Processes) -> Autoscaler:
    return Autoscaler([CATALOG, AUTH], depths=depths, processes=processes)


async def test_processes_follow_the_depth_of_their_queue(
    autoscaler: Autoscaler, depths: Depths, processes: Processes
) -> None:
    depths.depths["rpc.catalog"] = 60
    memory = await autoscaler.step(CATALOG, Memory())
    assert processes.counts == {"catalog_worker": 3, "auth_worker": 1}

    depths.depths["rpc.catalog"] = 0
    await autoscaler.step(CATALOG, memory)

    assert processes.counts == {"catalog_worker": 1, "auth_worker": 1}


async def test_each_change_is_logged_once_with_its_reason(
    autoscaler: Autoscaler, depths: Depths
) -> None:
    depths.depths["rpc.catalog"] = 60

    with capture_logs() as logs:
        memory = await autoscaler.step(CATALOG, Memory())
        await autoscaler.step(CATALOG, memory)

    reason = "60 messages / 20 per process = 3"
    assert logs == [
        {
            "event": "scaled",
            "log_level": "info",
            "program": "catalog_worker",
            "before": 1,
            "after": 3,
            "reason": reason,
        }
    ]
    (change,) = autoscaler.changes
    assert (change.program, change.before, change.after) == ("catalog_worker", 1, 3)
    assert change.reason == reason


async def test_a_depth_that_cannot_be_had_is_logged_once_and_changes_nothing(
    autoscaler: Autoscaler, depths: Depths, processes: Processes
) -> None:
    del depths.depths["rpc.auth"]
    processes.counts["auth_worker"] = 3

    with capture_logs() as logs:
        memory = await autoscaler.step(AUTH, Memory())
        memory = await autoscaler.step(AUTH, memory)

    assert [line["event"] for line in logs] == ["queue depth unknown"]
    assert processes.counts["auth_worker"] == 3
    assert memory.failures == 2


async def test_all_queues_are_followed_until_cancelled(
    autoscaler: Autoscaler, depths: Depths, processes: Processes
) -> None:
    running = asyncio.create_task(autoscaler.run())
    await eventually(lambda: set(depths.asked) == {"rpc.catalog", "rpc.auth"})
    depths.depths["rpc.auth"] = 12

    await eventually(lambda: processes.counts["auth_worker"] == 3)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(first_delay_s=0.02)
    yield supervisor
    await supervisor.stop()


async def test_crashing_processes_are_as_many_as_the_queue_needs(
    supervisor: Supervisor,
) -> None:
    depths = Depths({"rpc.catalog": 60})
    autoscaler = Autoscaler([CATALOG], depths=depths, processes=supervisor)
    crashing = Program("catalog_worker", ("/bin/false",), {"PATH": os.environ["PATH"]})
    supervisor.start(crashing)
    memory = await autoscaler.step(CATALOG, Memory())

    await eventually(lambda: supervisor.crashes("catalog_worker") > 9)
    await autoscaler.step(CATALOG, memory)

    assert supervisor.replicas("catalog_worker") == 3
    assert len(autoscaler.changes) == 1
