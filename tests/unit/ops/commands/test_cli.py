"""What is the same for all subcommands of `postroad`."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ops.commands import errors
from ops.commands.dispatch import COMMANDS, run_command
from ops.commands.errors import CommandError
from postroad.contracts.errors import Unavailable
from postroad.security.keys import KeyFileError


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


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ops.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_help_imports_neither_a_command_nor_a_library() -> None:
    imported = imported_by("--help")

    assert {name for name in imported if name.startswith("ops.commands.")} == {
        "ops.commands.dispatch",
        "ops.commands.errors",
    }
    libraries = {"asyncio", "cryptography", "pika", "postroad", "pydantic", "requests", "structlog"}
    assert not imported & libraries


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        ("status", {"cryptography", "pika", "postroad.settings", "structlog"}),
        ("call catalog.products.list", {"ops.scaling", "requests"}),
    ],
)
def test_a_command_imports_what_it_needs(
    arguments: str, unwanted: set[str], tmp_path: Path
) -> None:
    imported = imported_by(*arguments.split(), "--state", str(tmp_path))

    assert "ops.commands.arguments" in imported
    assert not imported & (unwanted | {"alembic", "sqlalchemy", "uvicorn", "yaml"})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("dummyjson.com", "dummyjson.com: does not begin with http:// or https://"),
        ("http://host/?key=abc", "http://host/?…: has a query"),
    ],
)
def test_an_upstream_that_would_be_mangled_is_refused_before_anything_starts(
    url: str, problem: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = run_command(["up", "--upstream", url, "--state", str(tmp_path / "state")])

    assert status == 1
    assert capsys.readouterr().err.startswith(f"postroad: --upstream {problem}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command([command, "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: postroad {command} ")


def test_every_error_that_is_expected_is_one_of_a_module() -> None:
    for name in errors._EXPECTED:
        module, _, error = name.rpartition(".")
        assert issubclass(getattr(import_module(module), error), Exception)
    assert errors._SENTENCES.keys() <= set(errors._EXPECTED)


def test_what_strangers_wrote_into_an_error_is_harmless() -> None:
    assert errors.sentence(CommandError("no \x1b[2J\nsecond line")) == "no \ufffd[2J\nsecond line"


def test_an_error_has_its_code_and_advice_where_that_helps() -> None:
    assert errors.sentence(Unavailable("the broker is away")) == "unavailable: the broker is away"
    assert errors.sentence(KeyFileError("no file")) == "no file; has 'postroad up' run here?"
