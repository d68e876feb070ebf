"""The folder that somebody is in when they run a command, and what lies there."""

import subprocess
from pathlib import Path

import pytest

from ops.local.broker import PrivateBroker
from ops.services import programs
from ops.state.folder import StateFolder


def test_programs_import_nothing_from_the_folder_we_are_in(
    tmp_path: Path, state: StateFolder
) -> None:
    upstream = programs.sample_upstream(8081)
    names = ["sample_api", "auth_worker", "catalog_worker", "http_bridge", "json"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"open('{tmp_path}/was-run', 'w')")

    subprocess.run(
        [*upstream.argv[:-4], "--help"],
        cwd=tmp_path,
        env=dict(upstream.env),
        capture_output=True,
        check=False,
    )

    assert not (tmp_path / "was-run").exists()
    others = programs.programs(state, broker_address="", upstream="", host="", port=1)
    assert {tuple(each.argv[:2]) for each in others} == {tuple(upstream.argv[:2])}


async def test_rabbitmqctl_runs_in_the_folder_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rabbitmqctl", "rabbitmq-env"):
        (tmp_path / name).write_text("#!/bin/sh\npwd\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    where = await PrivateBroker(tmp_path / "node").ctl("status")

    assert where.strip() == str(tmp_path / "node")
