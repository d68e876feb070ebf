"""What is the same for all subcommands of `postroad`."""

import os
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ops.commands import errors
from ops.commands.dispatch import COMMANDS, run_command
from ops.commands.errors import CommandError
from ops.local.ports import LOOPBACK, free_ports
from ops.services import programs
from ops.state.folder import StateFolder
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


@pytest.mark.parametrize("command", ["contracts show", "definitions", "--help"])
def test_a_command_that_nobody_reads_any_more_ends_without_a_word(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = postroad(*command.split(), stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}
RUN_ALL = """
import sys
from ops import cli
from ops.terminal import streams

streams.prepare()  # as a command does first; or the next file would be one of them
state, note, commands = sys.argv[1], open(sys.argv[2], "w"), sys.argv[3:]
for command in commands:
    sys.argv = ["postroad", *command.split()]
    is_without = command.startswith(("definitions", "contracts", "test-from"))
    sys.argv += [] if is_without else ["--state", state]
    print(command, cli.main(), file=note, flush=True)
"""
ENDS = {  # of commands that work, or that have nothing to work on
    "status": 1,
    "call catalog.products.list": 1,
    "shell": 1,
    "sync": 1,
    "tail events": 1,
    "logs --no-follow": 1,
    "trace ID --from -": 1,
    "doctor": 2,
    "dead-letters list": 1,
    "explain -": 1,
    "test-from -": 1,
    "services add shop --calls catalog.*": 0,
    "services list": 0,
    "users add x": 1,
    "keys list": 0,
    "move-broker check": 1,
    "definitions": 0,
    "contracts check": 0,
    "up --upstream nope": 1,
}


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_no_command_minds_a_stream_that_is_closed(closed: str, tmp_path: Path) -> None:
    note = tmp_path / "note"

    done = subprocess.run(
        [
            *("bash", "-c", f'"$@" {closed}', "-", sys.executable, "-c", RUN_ALL),
            *(str(tmp_path / "state"), str(note), *ENDS),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" not in done.stderr
    assert note.read_text().splitlines() == [f"{command} {end}" for command, end in ENDS.items()]


def test_output_that_cannot_be_written_is_an_error_in_a_sentence() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # full(4)
        done = postroad("contracts", "check", stdout=full.fileno())

    assert done.returncode == 1
    assert done.stderr == "postroad: cannot write the output: No space left on device\n"


def test_nothing_to_write_does_not_mind_a_full_disk() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # full(4)
        done = subprocess.run(
            [sys.executable, "-u", "-m", "ops.cli", "nope"],  # -u: even nothing is written at once
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert "cannot write" not in done.stderr


def test_what_the_terminal_cannot_show_is_replaced(tmp_path: Path) -> None:
    logs = tmp_path / "log" / "programs"
    logs.mkdir(parents=True)
    line = '{"event":"Grüße","service":"auth","level":"info","time":"2026-11-28T22:00:00Z"}\n'
    (logs / "auth_worker.log").write_text(line)

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ops.cli",
            "logs",
            "--no-follow",
            "--since=9999d",
            "--state",
            tmp_path,
        ],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Gr??e" in done.stdout


def test_what_is_no_text_is_said_in_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "explain", "-"],
        input=b"\xff\xfe",
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (
        1,
        b"postroad: cannot read -: it is not text in utf-8\n",
    )


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
        ("dummyjson.com", "dummyjson.com: must begin with http:// or https://"),
        ("http://host/?key=abc", "http://host/?…: must not have a query"),
    ],
)
def test_an_upstream_that_would_be_mangled_is_refused_before_a_start(
    url: str, problem: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = run_command(["up", "--upstream", url, "--state", str(tmp_path / "state")])

    assert status == 1
    assert capsys.readouterr().err.startswith(f"postroad: --upstream {problem}")


@pytest.mark.parametrize("host", ["a..b", "1.2.3.999", "[::1]", ""])
def test_a_host_that_is_none_is_an_error_in_a_sentence(
    host: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = run_command(["up", "--host", host, "--state", str(tmp_path / "state")])

    assert status == 1
    assert capsys.readouterr().err.startswith(f"postroad: cannot listen on {host!r}: it ")


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
    assert errors.sentence(CommandError("no \x1b[2J\nsecond line")) == "no \\u001b[2J\nsecond line"


def test_an_error_has_its_code_and_advice_where_that_helps() -> None:
    assert errors.sentence(Unavailable("the broker is away")) == "unavailable: the broker is away"
    assert errors.sentence(KeyFileError("no file")) == "no file; has 'postroad up' run here?"


def test_a_folder_without_a_name_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTROAD_STATE", "")

    assert run_command(["services", "list"]) == 1
    assert f"there is no folder {tmp_path}/.postroad" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_command(["up", "--state", ""])
    assert "argument --state: must be a folder" in capsys.readouterr().err


def test_a_port_for_metrics_that_is_taken_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, (port,) = tmp_path / "state", free_ports(1)
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setenv("METRICS_PORT", str(taken))

        status = run_command(["up", "--port", str(port), "--state", str(state)])

    assert status == 1
    said = f"postroad: METRICS_PORT: port {taken} on {LOOPBACK} is taken by another program"
    assert capsys.readouterr().err.startswith(said)
    assert not (state / "services").exists()


def test_variables_that_our_system_overrides_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AUTH_DATABASE_URL": "postgresql://db/auth",
        "BRIDGE_PORT": "8000",  # the same
        "LOG_FORMAT": "console",
        "POSTROAD_ENV": "production",
        "PREFETCH": "2",  # it reaches them
    }.items():
        monkeypatch.setenv(name, value)

    started = programs.programs(
        StateFolder(tmp_path), broker_address="b:1", upstream="http://u", host="h", port=8000
    )

    assert programs.overridden(started) == ["AUTH_DATABASE_URL", "POSTROAD_ENV"]


def test_an_error_of_the_system_has_no_number() -> None:
    with pytest.raises(OSError, match="Errno") as error:
        Path("/nowhere").read_text()

    assert errors.sentence(error.value) == "/nowhere: No such file or directory"
