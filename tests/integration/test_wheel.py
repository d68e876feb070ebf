"""The package as `pip install .` leaves it, without the rest of the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shared.messaging.services import load_services
from tests.conftest import SERVICES_FILE

ROOT = Path(__file__).parents[2]
BUILD_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(
        build, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed.parent,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_that_is_installed_knows_who_there_is(installed: Path) -> None:
    listed = run(installed, "-m", "ops.cli", "services", "list", "--state", ".")

    assert [line for line in listed.splitlines() if not line.startswith(" ")] == list(
        load_services(SERVICES_FILE).root
    )


def test_the_command_that_is_installed_knows_how_programs_scale(installed: Path) -> None:
    script = "import ops.services as ours; print(ours.__file__, *ours.policies())"

    where, *scaled = run(installed, "-c", script).split()

    assert Path(where).is_relative_to(installed)
    assert "catalog_worker" in scaled
