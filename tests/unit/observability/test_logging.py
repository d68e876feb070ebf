"""Lines of the log in places that cannot show all of them."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

LOG = """
import logging, structlog
from postroad.observability.logging import configure_logging
from postroad.settings import LogSettings
configure_logging("auth", LogSettings(format={format!r}))
structlog.get_logger().info("Grüße", file="\\udcff")
logging.getLogger("theirs").warning("schön \\udcff")
"""


@pytest.mark.parametrize("format", ["console", "json"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_cannot_be_written_is_escaped(format: str, encoding: str) -> None:  # noqa: A002
    done = subprocess.run(
        [sys.executable, "-c", LOG.format(format=format)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode(encoding if format == "console" else "utf-8").splitlines()
    assert len(lines) == 2
    assert r"\udcff" in lines[0]
    if format == "json":
        assert json.loads(lines[0])["event"] == "Grüße"


def test_a_line_of_json_says_when_in_utc_and_who_wrote_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOG.format(format="json")],
        env={**os.environ, "TZ": "XXX+9"},  # nine hours behind
        capture_output=True,
        check=True,
    )

    for line in map(json.loads, done.stdout.splitlines()):
        assert line["time"].endswith("Z")
        written = datetime.fromisoformat(line["time"])
        assert abs(datetime.now(UTC) - written) < timedelta(hours=1)
        assert line["service"] == "auth"
        assert line["level"] in ("info", "warning")


@pytest.mark.parametrize("format", ["'console'", "'json'", "LogSettings().format"])
def test_a_process_whose_output_is_closed_goes_on(format: str) -> None:  # noqa: A002
    code = LOG.replace("{format!r}", format)

    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "-", sys.executable, "-c", code],
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("format", ["console", "json"])
def test_what_a_stranger_wrote_is_no_order_to_a_terminal(format: str) -> None:  # noqa: A002
    attack = "/\x1b]0;PWNED\x07\n2026-01-01 FAKE\x9b2J\x7f\u202e"
    code = LOG.partition("structlog.get_logger()")[0].format(format=format)
    code += f"structlog.get_logger().info({attack!r}); logging.getLogger().warning({attack!r})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    lines = done.stdout.decode().removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all("PWNED" in line and line.isprintable() for line in lines)
    if format == "json":
        assert json.loads(lines[0])["event"] == attack
