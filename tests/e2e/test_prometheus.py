"""Prometheus itself reads what our processes tell, and evaluates our rules on it."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ops.local.ports import LOOPBACK, free_ports
from postroad.testing import eventually
from tests.e2e.system import System

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/observability/rules.yml"
RECORDED = "postroad:http_request_duration_seconds:p99_5m"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="there is no prometheus (Debian: apt-get install prometheus)",
    ),
]


def settings_of(system: System) -> dict[str, Any]:
    """Write Prometheus' settings: our rules, and each of our processes as what it is."""
    targets = [
        {"targets": [f"{LOOPBACK}:{port}"], "labels": {"program": name}}
        for name in system.supervisor.names
        for port in system.supervisor.metrics_ports(name)
    ]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "postroad", "static_configs": targets}],
    }


@pytest.fixture
async def prometheus(system: System, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus over the running system, and give a way to ask it."""
    (port,) = free_ports(1)
    settings = tmp_path / "prometheus.yml"
    settings.write_text(yaml.safe_dump(settings_of(system)))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={settings}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={LOOPBACK}:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}/api/v1") as http:
            yield http
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


async def ask(prometheus: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    try:
        response = await prometheus.get(path, params=parameters)
    except httpx.TransportError:
        return {}
    return response.json().get("data", {}) if response.status_code == 200 else {}


async def test_prometheus_reads_every_process_and_evaluates_every_rule(
    system: System, user: httpx.AsyncClient, prometheus: httpx.AsyncClient
) -> None:
    programs = {"http_bridge", "auth_worker", "catalog_worker", "auth_audit", "catalog_sync"}

    async def all_are_up() -> bool:
        targets = (await ask(prometheus, "/targets")).get("activeTargets", [])
        up = {each["labels"]["program"] for each in targets if each["health"] == "up"}
        return up == programs

    async def is_recorded() -> bool:
        await user.get("/products/1")
        result = (await ask(prometheus, "/query", query=RECORDED)).get("result", [])
        return bool(result) and result[0]["value"][1] != "NaN"

    await eventually(all_are_up, timeout_s=30)
    await eventually(is_recorded, timeout_s=60)
    groups = (await ask(prometheus, "/rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert len(rules) == RULES.read_text().count("expr:")
    assert [rule for rule in rules if rule["health"] != "ok"] == [], json.dumps(rules)
    bridge_down = next(rule for rule in rules if rule["name"] == "BridgeDown")
    assert bridge_down["state"] == "inactive"
