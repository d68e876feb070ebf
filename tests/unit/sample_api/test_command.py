"""The command of the sample product API: how it starts, fails and ends."""

import os
import signal
import subprocess

import httpx
import pytest

from sample_api.catalogue import bundled_products
from sample_api.faults import Faults
from tests.support.sample_upstream import COMMAND, ROOT, running


def ended(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, waited for until it ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_leaves_quietly(number: signal.Signals) -> None:
    with running() as (process, url):
        served = httpx.get(f"{url}/products/1", trust_env=False).json()
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)

    assert served == bundled_products()[0]
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_taken_port_is_one_clear_sentence() -> None:
    with running() as (_, url):
        port = url.rpartition(":")[2]
        second = ended("--port", port)

    assert second.returncode == 1
    assert second.stderr == (
        f"port {port} on 127.0.0.1 is already in use; choose another with --port\n"
    )


def test_a_wrong_variable_is_named_and_nothing_starts() -> None:
    attempt = ended("--port", "0", SAMPLE_UPSTREAM_FAIL_RATE="often")

    assert attempt.returncode == 1
    assert attempt.stderr.startswith("SAMPLE_UPSTREAM_FAIL_RATE: ")
    assert attempt.stderr.count("\n") == 1


def test_help_names_every_variable() -> None:
    text = ended("--help").stdout

    assert all(f"SAMPLE_UPSTREAM_{name.upper()}" in text for name in Faults.model_fields)


@pytest.mark.parametrize("count", ["-1", "many", "10000001"])
def test_a_number_of_products_that_makes_no_sense_is_one_clear_sentence(count: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--products", count], capture_output=True, text=True, check=False, timeout=30
    )

    assert done.returncode == 2
    assert f"'{count}' is not a number" in done.stderr
