"""Licence, changelog, pages for contributors, and the settings of tools outside the repository."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from postroad.version import VERSION
from tests.safeguards.listed import ROOT

PAGES_LINES_MAX = {"README.md": 120, "CONTRIBUTING.md": 80, "docs/support.md": 60}
README_WORDS_MAX = 900
LINKING = sorted(
    {"SECURITY.md", "CHANGELOG.md", "deploy/kubernetes/README.md", *PAGES_LINES_MAX}
    | {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
)
SETTINGS = [ROOT / ".pre-commit-config.yaml", *(ROOT / ".github").rglob("*.yml")]


def test_the_commit_hooks_run_what_make_check_runs() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "check", "VENV=.venv"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]

    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]

    assert entries == [shlex.split(line) for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.name)
def test_a_settings_file_is_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_the_workflow_calls_the_script_and_may_only_read() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())

    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["steps"][-1]["run"] == ".ci/run"
        assert "timeout-minutes" in job


@pytest.mark.parametrize("folder", [ROOT, ROOT / "shared"], ids=["services", "library"])
def test_a_distribution_has_the_licence(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]

    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_changelog_begins_with_the_next_version_or_this_one() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()

    heads = re.findall(
        r"^## (\d+\.\d+\.\d+) (\(unreleased\)|- \d{4}-\d\d-\d\d)$", text, re.MULTILINE
    )

    assert len(heads) == text.count("\n## ")
    released = [version for version, state in heads if state != "(unreleased)"]
    assert released[0] == VERSION
    assert heads[0][0] == VERSION or heads[0][1] == "(unreleased)"


@pytest.mark.parametrize(("page", "lines_max"), PAGES_LINES_MAX.items())
def test_a_page_is_short(page: str, lines_max: int) -> None:
    assert len((ROOT / page).read_text().splitlines()) <= lines_max


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS_MAX


@pytest.mark.parametrize("page", LINKING)
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())

    missing = {link for link in links if not ((ROOT / page).parent / link).exists()}

    assert not missing
