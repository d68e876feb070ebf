"""`from shared.messaging import ...`: for other teams, and free of charge for everybody else."""

import subprocess
import sys
from pathlib import Path

import pytest

import shared.messaging
from shared.messaging.blocking import BlockingClient

ROOT = Path(__file__).parents[2]


def test_what_it_says_it_has_can_be_imported() -> None:
    offered = {name: getattr(shared.messaging, name) for name in shared.messaging.__all__}

    assert offered["BlockingClient"] is BlockingClient
    assert [value.__name__ for value in offered.values()] == shared.messaging.__all__


def test_what_it_has_not_is_an_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from shared.messaging import nothing  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_a_module_of_it_is_imported_without_the_rest() -> None:
    script = "import sys, shared.messaging.names; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split())
    assert "shared.messaging.names" in loaded
    assert not loaded & {"pika", "pydantic", "shared.settings", "shared.messaging.client"}
