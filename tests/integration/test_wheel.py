"""The library's wheel, as other teams install it: beside packages of theirs, without extras."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.wheels import Environment, build_wheel, run, scripts_of_the_guide

BASE = {
    *("annotated-types", "cffi", "cryptography", "pika", "postroad", "pycparser", "pydantic"),
    *("pydantic-core", "pydantic-settings", "pyjwt", "python-dotenv", "structlog"),
    *("typing-extensions", "typing-inspection"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_it_has_one_top_level_name_types_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}

    assert {name for name in top if not name.endswith(".dist-info")} == {"postroad"}
    assert "postroad/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_packages_of_the_same_names_as_ours_stay_whole(wheel: Path, tmp_path: Path) -> None:
    environment = Environment.create(tmp_path / "venv")
    theirs = [environment.site_packages / name / "__init__.py" for name in ("shared", "ops")]
    for module in theirs:
        module.parent.mkdir()
        module.write_text("OWNER = 'another team'\n")
    uses = "import ops, shared, postroad; print(ops.OWNER, shared.OWNER)"

    environment.pip("install", "--no-deps", str(wheel))
    used = run(str(environment.python), "-c", uses, cwd=tmp_path)
    environment.pip("uninstall", "--yes", "postroad")

    assert used == "another team another team\n"
    assert [module.read_text() for module in theirs] == ["OWNER = 'another team'\n"] * 2
    assert not (environment.site_packages / "postroad").exists()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One with the wheel and what it brings."""
    environment = Environment.create(tmp_path_factory.mktemp("installed") / "venv")
    environment.install(wheel)
    return environment


def test_it_brings_what_a_caller_needs_and_no_extra(environment: Environment) -> None:
    worker = subprocess.run(
        [environment.python, "-c", "from postroad import serve"],
        cwd=environment.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert environment.distributions == BASE
    assert worker.stderr.endswith("orjson is missing: pip install 'postroad[worker]'\n")


def test_what_the_guide_shows_is_typed(environment: Environment, tmp_path: Path) -> None:
    scripts = scripts_of_the_guide(tmp_path)

    checked = run(
        *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.mypy_cache"),
        *("--python-executable", str(environment.python), *(script.name for script in scripts)),
        cwd=tmp_path,
    )

    assert checked == f"Success: no issues found in {len(scripts)} source files\n"
