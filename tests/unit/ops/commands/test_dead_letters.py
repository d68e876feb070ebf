"""`postroad dead-letters`: what it refuses before it looks at any letter."""

from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.dead_letters.letter import REASONS
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
