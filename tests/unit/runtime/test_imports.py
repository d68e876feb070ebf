"""`from postroad import ...`: for other teams, and free of charge for everybody else."""

import subprocess
import sys
from pathlib import Path

import pytest

import postroad
from postroad.runtime.blocking import BlockingClient

ROOT = Path(__file__).parents[3]


def test_what_it_says_it_has_can_be_imported() -> None:
    offered = {name: getattr(postroad, name) for name in postroad.__all__}

    assert offered["BlockingClient"] is BlockingClient
    assert [value.__name__ for value in offered.values()] == postroad.__all__


def test_what_it_has_not_is_an_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from postroad import nothing  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_a_module_of_it_is_imported_without_the_rest() -> None:
    script = "import sys, postroad.topology.names; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split())
    assert "postroad.topology.names" in loaded
    assert not loaded & {"pika", "pydantic", "postroad.settings", "postroad.messaging.client"}
