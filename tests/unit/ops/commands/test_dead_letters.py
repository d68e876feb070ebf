"""`postroad dead-letters`: what it refuses before it looks at any letter."""

from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from ops.commands.dead_letters import _says_yes, list_letters
from ops.commands.dispatch import parse, run_command
from ops.dead_letters.letter import REASONS
from ops.dead_letters.plan import Audit
from ops.dead_letters.report import ADVICE


@pytest.mark.parametrize("act", ["list", "redrive", "quarantine", "purge"])
@pytest.mark.parametrize("reason", ["nope", "Failed", "expired ", "x*"])
def test_a_reason_that_no_letter_can_have_is_refused_and_all_are_named(
    act: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_command(["dead-letters", act, "--reason", reason, "--state", str(tmp_path)])

    assert status == 1
    assert capsys.readouterr().err.startswith(
        f"postroad: no reason is like {reason!r}; there are failed, rejected, unsigned, "
    )


@pytest.mark.parametrize("reason", ["failed", "expired", "not_auth*", "*"])
def test_a_reason_or_a_pattern_of_one_is_taken(
    reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(["dead-letters", "list", "--reason", reason, "--state", str(tmp_path)])

    assert "nothing runs" in capsys.readouterr().err


def test_every_reason_that_has_advice_can_be_named() -> None:
    assert {str(code) for code in ADVICE} <= set(REASONS)


@pytest.mark.parametrize(
    ("typed", "is_yes"), [(b"y\n", True), (b"n\n", False), (b"\n", False), (b"\xff\n", False)]
)
def test_only_a_clear_yes_purges(
    typed: bytes, is_yes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(typed), "utf-8"))

    assert _says_yes("Delete? ") is is_yes
    assert capsys.readouterr().out == "Delete? " + ("" if is_yes else "nothing was deleted\n")


def test_whoever_has_no_name_is_noted_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)

    assert Audit(tmp_path / "audit").who == "uid 4000000000"


def test_programs_are_told_beside_the_output_that_there_are_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    list_letters([], parse(["dead-letters", "list", "--json"]))

    assert capsys.readouterr() == ("", "no dead letters: all is well\n")
