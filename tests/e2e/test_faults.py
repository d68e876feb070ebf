"""A short fault campaign; `make faults` is the long one."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docker import docker_answers

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
FAULTS, SEED, MINUTES = 20, 7, 2.5  # on a slow machine there are fewer
KINDS = (
    *("kill_worker", "kill_bridge", "kill_broker", "stop_worker", "stop_broker"),
    *("cut_connections", "pause_connections", "delete_reply_queues", "alarm_memory"),
    *("wrong_upstream", "rotate_keys", "skew_clock_a_little", "repeat_requests", "repeat_work"),
)


OF_A_CLUSTER = ("kill_broker", "fill_disk")  # no time is set for these beside other tests


@pytest.mark.timeout(400)
async def test_nothing_is_lost_doubled_or_wrong_whatever_breaks(tmp_path: Path) -> None:
    report = await campaign(tmp_path, KINDS, faults=FAULTS, minutes=MINUTES)

    assert "| lost | 0 |" in report


@pytest.mark.docker
@pytest.mark.skipif(not docker_answers(), reason="Docker does not answer")
@pytest.mark.timeout(900)
async def test_nor_is_anything_in_a_cluster_of_brokers(tmp_path: Path) -> None:
    report = await campaign(
        tmp_path, OF_A_CLUSTER, "--brokers", "3", faults=len(OF_A_CLUSTER), minutes=5
    )

    assert "a cluster of 3 nodes" in report
    assert "| lost | 0 |" in report


async def campaign(
    folder: Path, kinds: tuple[str, ...], *options: str, faults: int, minutes: float
) -> str:
    """Run a campaign that is to find nothing; return its report."""
    report = folder / "report.md"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--faults", str(faults), "--seed", str(SEED)),
        *("--minutes", str(minutes), "--kinds", ",".join(kinds), *options),
        *("--report", str(report), "--folder", str(folder / "run")),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()  # its children die with it

    assert process.returncode == 0, output.decode()
    return report.read_text()
