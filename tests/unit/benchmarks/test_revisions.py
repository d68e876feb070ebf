"""An earlier commit as a contender of the benchmark: found, installed, and told apart."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import parse
from benchmarks.comparison import CONTENDERS, Comparison, Options, Row
from benchmarks.comparison_report import report
from benchmarks.load import Result
from benchmarks.machine import Machine
from benchmarks.revisions import by_role, set_up, short_commit, unpack

MACHINE = Machine(2, "a CPU", "Linux", "3.11", {}, "2026-01-01 00:00", 0.0)
RESULT = Result(1000.0, 10.0, 20.0, 30.0, {"bridge": 200.0, "rabbitmq": 100.0}, {"bridge": 50.0})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of two commits, whose `bin/setup` notes what it was told."""
    folder = tmp_path / "repository"
    (folder / "bin").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for setup in ("echo $VENV $BASE_PYTHON >>$(dirname $0)/../installed", "exit 1"):
        (folder / "bin" / "setup").write_text(f"#!/bin/sh\n{setup}\n")
        (folder / "bin" / "setup").chmod(0o755)
        git(folder, "add", ".")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "c")
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


def commit_of(revision: str, repository: Path) -> str:
    commit = short_commit(revision, repository)
    assert commit
    return commit


def test_a_commit_is_unpacked_and_installed_by_its_own_setup(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENV", "/of/this/working/tree")

    tree = unpack(commit_of("HEAD~1", repository), tmp_path, repository)
    postroad = set_up(tree, tmp_path / "venv")

    assert postroad == tmp_path / "venv" / "bin" / "postroad"
    assert (tree / "installed").read_text().split()[0] == str(tmp_path / "venv")


def test_what_was_installed_for_a_commit_is_found_again(repository: Path, tmp_path: Path) -> None:
    commit = commit_of("HEAD~1", repository)
    tree = unpack(commit, tmp_path, repository)
    (tree / "installed").touch()

    assert unpack(commit, tmp_path, repository) == tree
    assert (tree / "installed").exists()


def test_a_commit_that_does_not_install_ends_with_its_setups_error(
    repository: Path, tmp_path: Path
) -> None:
    tree = unpack(commit_of("HEAD", repository), tmp_path, repository)

    with pytest.raises(subprocess.CalledProcessError, match="setup"):
        set_up(tree, tmp_path / "venv")


def test_a_revision_that_there_is_not_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--before", "no-such-revision"])

    with pytest.raises(SystemExit):
        parse()

    assert "this repository has no commit no-such-revision" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "only"), [([], CONTENDERS), (["--only", "ours"], ["ours"])])
def test_before_measures_requests_alone_and_keeps_the_usual_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], only: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--before", "HEAD", "--state", str(tmp_path), *words])

    options = parse()

    assert options.before == short_commit("HEAD")
    assert options.only == only
    assert options.parts == ["peers"]
    assert options.results == tmp_path / "results"


def test_the_processes_of_a_listing_are_told_by_their_command_lines() -> None:
    lines = {
        1: ["/a/python", "-P", "-m", "http_bridge"],
        2: ["/a/python", "-m", "catalog_worker"],
        3: ["/a/python", "-m", "catalog_worker.sync"],
        4: ["/usr/lib/erlang/bin/beam.smp", "-W", "w"],
        5: ["/usr/bin/epmd", "-port", "1"],
        6: [],
    }

    assert by_role(lines) == {"bridge": [1], "worker": [2], "rabbitmq": [4]}


def test_ours_is_divided_by_what_it_was_at_each_number_of_connections() -> None:
    options = Options(only=["ours"], connections=[1, 64], before="d09dbd0")
    slower = replace(RESULT, requests_per_s=800.0, cpu_us={"all": 400.0})
    rows = [
        Row(name, connections, result)
        for connections in options.connections
        for name, result in (("ours", RESULT), ("before (d09dbd0)", slower))
    ]

    text = report(Comparison(MACHINE, "3.10.8", options, 7862, 150.0, rows, {}))

    assert (
        "| connections | req/s | CPU us |\n"
        "| ----------: | ----: | -----: |\n"
        "|           1 |  1.25 |   0.75 |\n"
        "|          64 |  1.25 |   0.75 |\n"
    ) in text
