"""`postroad up` itself, and `postroad status` beside it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.health import releases
from ops.local.broker_node import started_version
from ops.local.ports import free_ports
from ops.local.processes import command_line
from ops.services import policies
from ops.services.manifests import program_names
from ops.state.folder import StateFolder
from ops.terminal.interrupts import INTERRUPTED
from postroad.testing import eventually
from tests.support.scraping import Scrape, scrape

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

START_TIMEOUT_S = 60.0
# nothing of a system on one machine goes by a proxy: nobody listens there
PROXIED = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}


async def test_a_started_system_shows_its_processes_and_leaves_none(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    up = await postroad("up", "--port", str(port), "--max-replicas", "3", state=tmp_path)
    status: dict[str, Any] = {}
    told = Scrape([])
    try:

        async def has_programs() -> bool:
            seen = await postroad("status", "--json", state=tmp_path)
            output, _ = await seen.communicate()
            return seen.returncode == 0 and json.loads(output)["programs"] is not None

        async def metrics_agree() -> bool:  # it may scale in between
            nonlocal status, told
            seen = await postroad("status", "--json", state=tmp_path)
            status = json.loads((await seen.communicate())[0])
            told = await scrape(status["metrics_port"])
            return all(
                told.value("postroad_replicas_wanted", program=name) == program["wanted"]
                and told.value("postroad_replicas_running", program=name) == len(program["pids"])
                for name, program in status["programs"].items()
            )

        await eventually(has_programs, timeout_s=START_TIMEOUT_S)
        await eventually(metrics_agree, timeout_s=20)
        traces = await traces_of(tmp_path)
        users, _ = await (await postroad("users", "list", state=tmp_path)).communicate()
        (bridge_port,) = status["programs"]["http_bridge"]["metrics_ports"]
        bridge = await scrape(bridge_port)
    finally:
        up.send_signal(signal.SIGINT)
        output, _ = await up.communicate()

    running = status["programs"]
    assert running.keys() == {"upstream", *program_names()}
    scaled = policies.load()
    for name, program in running.items():
        least = scaled[name].min_replicas if name in scaled else None
        most = min(scaled[name].max_replicas, 3) if name in scaled else None
        assert (program["least"], program["most"]) == (least, most)
        assert told.value("postroad_program_crashes_total", program=name) == 0
    assert bridge.value("postroad_http_requests_total", route="/auth", status="200") == 1
    assert len(running["http_bridge"]["pids"]) == 1
    assert users.split()[:2] == [b"1", b"admin"]  # who has just signed in
    assert status["problem"] is None
    assert up.returncode == INTERRUPTED
    pids = [pid for program in running.values() for pid in program["pids"]]
    assert not [pid for pid in pids if command_line(pid)]
    after = await postroad("status", state=tmp_path)
    assert b"nothing runs" in (await after.communicate())[1]
    assert [(root["kind"], root["service"]) for root in traces] == [("http", "bridge")]
    assert [step["kind"] for step in traces[0]["children"]] == ["request"]
    shown = output.decode()
    assert re.search(r"^\d\d:\d\d:\d\d auth +\[info +\] started ", shown, re.MULTILINE), shown
    assert '"level":' not in shown
    version = started_version(StateFolder(tmp_path).broker_log)
    if note := releases.in_a_line(version, datetime.now(UTC).date()):
        assert [line for line in shown.splitlines() if "RabbitMQ " in line] == [f"{'':11}{note}"]
    logged = {path.name for path in (tmp_path / "log" / "programs").iterdir()}
    assert {f"{name}.log" for name, program in running.items() if program["pids"]} <= logged


async def traces_of(state: Path) -> list[dict[str, Any]]:
    """Give what the self-check's request for products set off."""
    log = await postroad("logs", "--no-follow", "--json", "--service", "bridge", state=state)
    lines = [json.loads(line) for line in (await log.communicate())[0].splitlines()]
    asked = next(line for line in lines if str(line.get("path", "")).startswith("/products"))
    trace = await postroad("trace", "--json", asked["request_id"], state=state)
    traces: list[dict[str, Any]] = json.loads((await trace.communicate())[0])
    return traces


async def postroad(*arguments: str, state: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", *arguments, "--state", str(state)),
        env={**os.environ, **PROXIED},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
