"""`postroad shell`: what it refuses, its banner, and code while nobody answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.commands import shell
from ops.commands.dispatch import run_command
from ops.local.ports import LOOPBACK, free_ports
from postroad.security.keys import TrustedService

ALL = TrustedService(keys=(), calls=("auth.*", "catalog.*"), listens=("auth.*", "catalog.*"))


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose broker is away."""
    folder = tmp_path_factory.mktemp("state")
    assert run_command(["provision", "--operator", "--state", str(folder)]) == 0
    return folder


def run_shell(
    folder: Path, code: str | bytes, *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    (port,) = free_ports(1)  # where nobody listens
    broker = {
        "BROKER_URLS": f"amqp://{LOOPBACK}:{port}/postroad",
        "BROKER_CONNECT_TIMEOUT_S": "0.1",
    }
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "shell", *arguments, "--state", str(folder)],
        input=code.encode() if isinstance(code, str) else code,
        env=os.environ | broker,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_without_a_running_system_there_is_nobody_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["shell", "--state", str(tmp_path)]) == 1

    assert capsys.readouterr().err.startswith(f"postroad: nothing runs on {tmp_path}; ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--as", "stranger"), "no service stranger; add it with 'postroad services add'"),
        (("--token-file", "-"), "the standard input is what is run: give --token-file a file"),
        (("--token-file", "/nowhere"), "cannot read /nowhere: No such file or directory"),
    ],
)
def test_arguments_that_name_nobody_are_refused_in_a_sentence(
    provisioned: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = run_shell(provisioned, "print('never')", *arguments)

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"postroad: {complaint}\n"


def test_code_that_is_piped_in_has_the_contracts_and_ends_with_its_error(
    provisioned: Path,
) -> None:
    done = run_shell(provisioned, "print(ListProducts(limit=2))\nawait call(ListProducts())")

    assert (done.returncode, done.stdout[:8]) == (1, b"limit=2 ")
    assert done.stderr == b"line 2: Unavailable: the message broker is away\n"


def test_code_that_is_no_text_is_refused_and_one_that_exits_has_its_status(
    provisioned: Path,
) -> None:
    unreadable = run_shell(provisioned, b"\xff")
    exits = run_shell(provisioned, "await asyncio.sleep(0)\nexit(3)")

    assert unreadable.returncode == 1
    assert unreadable.stderr == b"postroad: cannot read -: it is not text in utf-8\n"
    assert (exits.returncode, exits.stderr) == (3, b"")


def test_what_is_there_are_the_contracts_that_one_may_use(provisioned: Path) -> None:
    names = "print(sorted(name for name in globals() if name[0].isupper()))"

    done = run_shell(provisioned, names, "--as", "catalog")

    assert done.stdout.decode().startswith("['ListRevocations', 'SessionRevoked'")


def test_the_banner_has_at_most_six_lines_however_much_there_is() -> None:
    banner = shell._banner("operator", ALL, is_connected=True)

    assert len(banner.splitlines()) <= 6
    assert max(map(len, banner.splitlines())) <= 100
    assert banner.startswith("Postroad, as operator. Try: await call(ListProducts(limit=2))\n")


@pytest.mark.parametrize(
    ("calls", "listens", "example"),
    [
        (("catalog.categories.list",), (), "Try: await call(ListCategories())"),
        (("catalog.products.get",), ("auth.login.failed",), "Try: async with listen(LoginFailed)"),
        ((), (), ""),
    ],
)
def test_the_banners_example_is_one_that_may_be_run(
    calls: tuple[str, ...], listens: tuple[str, ...], example: str
) -> None:
    rights = TrustedService(keys=(), calls=calls, listens=listens)

    first, *_ = shell._banner("shop", rights, is_connected=False).splitlines()

    assert first.startswith(f"Postroad, as shop, once the broker answers. {example}")
