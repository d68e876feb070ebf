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


@pytest.mark.parametrize("command", ["contracts show", "definitions --check", "--help"])
def test_a_command_that_nobody_reads_any_more_ends_without_a_word(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = postroad(*command.split(), stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("command", ["call", "services list"])
def test_an_option_that_a_command_does_not_know_points_to_its_own_help(command: str) -> None:
    done = postroad(*command.split(), *(["x"] if command == "call" else []), "--nope")

    name = f"postroad {command}"
    assert done.returncode == 2
    assert done.stderr == f"{name}: unrecognized arguments: --nope; {name} --help says more\n"
