"""`postroad services`: what it prints for a shell, and names that are none."""

import subprocess
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.commands.services import _quoted


@pytest.mark.parametrize(
    "value", ["/var/lib", "a b'c", "/home/jürgen/%d", "\x1b]0;owned\x07", 'naïve $(id) `id` "x"']
)
def test_a_shell_reads_what_was_quoted_from_ascii_alone(value: str) -> None:
    quoted = _quoted(value)

    assert quoted.isascii()
    assert quoted.isprintable()
    script = f'export VALUE={quoted}; printf %s "$VALUE"'
    read = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert read.stdout.decode() == value


def test_what_is_not_a_line_of_ascii_is_not_printed_inline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    run_command(["provision", "--state", str(state)])
    (state / "services" / "auth" / "broker.password").write_text("pässword")
    capsys.readouterr()

    assert run_command(["services", "env", "auth", "--inline", "--state", str(state)]) == 1
    assert "BROKER_PASSWORD" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "../..", "a\\u001b[31mb"])
def test_a_name_that_is_none_takes_no_folder_away(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    run_command(["provision", "--state", str(state)])
    (state / "services.toml").write_text(f'["{name}"]\n')
    given = name.replace("\\u001b", "\x1b")

    assert run_command(["services", "revoke", given, "--state", str(state)]) == 1
    assert (state / "services" / "auth" / "identity.json").exists()
