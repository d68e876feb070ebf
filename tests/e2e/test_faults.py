"""A short fault campaign; `make faults` is the long one."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
FAULTS, SEED, MINUTES = 20, 7, 2.5  # on a slow machine there are fewer
KINDS = (
    *("kill_worker", "kill_bridge", "kill_broker", "stop_worker", "stop_broker"),
    *("cut_connections", "pause_connections", "delete_reply_queues", "alarm_memory"),
    *("wrong_upstream", "rotate_keys", "skew_clock_a_little", "repeat_requests", "repeat_work"),
)


@pytest.mark.timeout(400)
async def test_nothing_is_lost_doubled_or_wrong_whatever_breaks(tmp_path: Path) -> None:
    report = tmp_path / "report.md"

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--faults", str(FAULTS), "--seed", str(SEED)),
        *("--minutes", str(MINUTES), "--kinds", ",".join(KINDS)),
        *("--report", str(report), "--folder", str(tmp_path / "run")),
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
    assert "| lost | 0 |" in report.read_text()
