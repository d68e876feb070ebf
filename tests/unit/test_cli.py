"""What is the same for all subcommands of `postroad`."""

import os
import subprocess
import sys

import pytest


def postroad(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["contracts show", "services list", "--help"])
def test_a_command_that_nobody_reads_any_more_ends_without_a_word(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = postroad(*command.split(), stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
