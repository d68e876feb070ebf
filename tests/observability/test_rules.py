"""Prometheus' own tool reads our settings, and runs the tests of our alerts."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="there is no promtool (Debian: apt-get install prometheus)",
)
pytestmark = needs_promtool


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_settings_are_prometheus_own() -> None:
    assert "rules found" in promtool("check", "config", "deploy/observability/prometheus.yml")


def test_each_alert_fires_for_what_it_is_about_and_for_nothing_else() -> None:
    promtool("test", "rules", "tests/observability/rules_test.yml")


def test_every_alert_is_tested() -> None:
    rules = (ROOT / "deploy/observability/rules.yml").read_text()
    tests = (ROOT / "tests/observability/rules_test.yml").read_text()

    alerts = [line.split()[-1] for line in rules.splitlines() if "- alert:" in line]

    assert alerts
    assert all(f"alertname: {alert}" in tests for alert in alerts)
