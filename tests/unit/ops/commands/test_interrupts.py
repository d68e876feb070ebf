"""Ctrl-C at any moment of a command: status 130, and no traceback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops.commands.dispatch import COMMANDS, module_of, run_command
from ops.local.ports import LOOPBACK
from ops.terminal.interrupts import INTERRUPTED

# the moment is the import of a module, or the very end
AT_AN_IMPORT = """
import signal, sys

class Interrupting:
    def find_spec(name, path, target=None):
        if name == moment:
            signal.raise_signal(signal.SIGINT)

moment = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupting)
from ops.cli import main
sys.exit(main())
"""
WAITING = ("--as", "bridge", "--timeout", "60")
AT_THE_END = """
import atexit, signal, sys
from ops.cli import main
atexit.register(signal.raise_signal, signal.SIGINT)
sys.exit(main())
"""


def interrupted(code: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_interrupted_while_it_is_imported_ends_at_once(command: str) -> None:
    module = module_of(command)

    assert interrupted(AT_AN_IMPORT, module, command) == (INTERRUPTED, "")


@pytest.mark.parametrize("module", ["argparse", "ops.state.folder", "cryptography", "pika"])
def test_a_command_that_is_interrupted_while_it_imports_ends_at_once(module: str) -> None:
    assert interrupted(AT_AN_IMPORT, module, "call", "--help") == (INTERRUPTED, "")


@pytest.mark.parametrize("arguments", [("--help",), ("contracts", "show")])
def test_a_command_that_is_interrupted_at_its_end_ends_at_once(arguments: tuple[str, ...]) -> None:
    assert interrupted(AT_THE_END, *arguments) == (INTERRUPTED, "")


def test_a_command_that_waits_says_what_may_have_happened(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    run_command(["provision", *state])
    with socket.create_server((LOOPBACK, 0)) as broker:  # it accepts, and says nothing
        address = f"amqp://{LOOPBACK}:{broker.getsockname()[1]}/postroad"
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "call", "catalog.categories.list", *WAITING, *state],
            env=os.environ | {"BROKER_URLS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        broker.settimeout(30)
        connection, _ = broker.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            output, complaints = process.communicate(timeout=30)

    assert process.returncode == INTERRUPTED
    assert output == b""
    assert complaints == b"\npostroad: interrupted; the request may have been answered\n"


def test_a_command_that_is_to_ignore_interrupts_does_so() -> None:
    ignoring = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{AT_AN_IMPORT}"

    assert interrupted(ignoring, "ops.state.folder", "definitions") == (0, "")
