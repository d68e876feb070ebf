"""`from postroad import ...`: for other teams, and free of charge for everybody else."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import postroad

ROOT = Path(__file__).parents[3]
WORKER, DATABASE, METRICS, TRACING = (
    {"orjson", "uvloop"},
    {"alembic", "psycopg", "sqlalchemy"},
    {"prometheus_client"},
    {"opentelemetry"},
)


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )


def loaded_by(statement: str) -> set[str]:
    done = run(f"import sys; {statement}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_a_type_checker_sees_is_what_can_be_imported() -> None:
    seen = {
        name.name: node.module
        for node in ast.walk(ast.parse(Path(postroad.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("postroad.")
        for name in node.names
    }

    assert seen == {name: f"postroad.{module}" for name, module in postroad._MODULES.items()}  # type: ignore[attr-defined]
    for name, module in seen.items():
        assert getattr(postroad, name) is getattr(import_module(str(module)), name)


def test_what_it_has_not_is_an_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from postroad import nothing  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_a_module_of_it_is_imported_without_the_rest() -> None:
    loaded = loaded_by("import postroad.topology.names")

    assert "postroad.topology.names" in loaded
    assert not loaded & {"pika", "pydantic", "postroad.settings", "postroad.messaging.client"}


def test_calling_and_listening_load_no_extra() -> None:
    loaded = loaded_by("from postroad import BlockingClient, connect, listen")

    assert "pika" in loaded
    assert not loaded & (WORKER | DATABASE | METRICS | TRACING)


def test_a_worker_loads_no_extra_but_its_own() -> None:
    loaded = loaded_by("from postroad import consume, serve")

    assert loaded >= WORKER
    assert not loaded & (DATABASE | METRICS | TRACING)


@pytest.mark.parametrize(
    ("statement", "missing", "extra"),
    [
        ("from postroad import serve", "orjson", "worker"),
        ("from postroad import consume", "uvloop", "worker"),
        ("from postroad.storage.outbox import Outbox", "sqlalchemy", "database"),
    ],
)
def test_who_lacks_an_extra_is_told_its_name(statement: str, missing: str, extra: str) -> None:
    done = run(f"import sys; sys.modules[{missing!r}] = None; {statement}")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {missing} is missing: pip install 'postroad[{extra}]'"
    )
