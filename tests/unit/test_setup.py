"""What bin/setup leaves behind works in folders and locales that others do not have."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "bin" / "setup"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a package and an environment, as bin/setup finds them when it has run pip."""
    folder = tmp_path / "Ünï çödé dir"
    package = folder / "shared" / "postroad"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    return folder


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}])
def test_python_starts_in_a_checkout_whose_name_is_not_ascii(
    checkout: Path, locale: dict[str, str]
) -> None:
    command = f"{function('point_at')}; venv=.venv; point_at shared _postroad.pth"

    subprocess.run(["bash", "-euc", command], cwd=checkout, check=True)

    code = "import postroad; print(ascii(postroad.__file__))"
    done = subprocess.run(
        [checkout / ".venv" / "bin" / "python", "-c", code],
        env=locale,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{str(checkout / 'shared' / 'postroad' / '__init__.py')!a}\n"


@pytest.mark.parametrize("name", [b"it's", b'"', b"$HOME", b"what?", b"a:b", b"a\nb", b"\xff"])
def test_a_folder_in_which_nothing_runs_is_refused_in_a_sentence(
    tmp_path: Path, name: bytes
) -> None:
    folder = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  # bytes
    os.mkdir(folder)  # noqa: PTH102

    done = checked(folder)

    assert done.returncode == 1
    assert b"move this one: " + folder in done.stderr


def test_a_folder_with_spaces_and_any_letters_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï, 日本 #1 (100%)"
    folder.mkdir()

    assert checked(folder).returncode == 0


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ("python3 python3.11", "python3"),
        ("python3.11 python3.14 python3.12", "python3.14"),
        ("python3.10", ""),
    ],
)
def test_the_systems_python_is_taken_or_else_the_newest(
    tmp_path: Path, there: str, found: str
) -> None:
    for name in there.split():
        interpreter = tmp_path / name
        status = int(name == "python3.10")  # of the question whether it is new enough
        interpreter.write_text(f"#!/bin/sh\ncase $2 in *exit*) exit {status};; esac\necho {name}\n")
        interpreter.chmod(0o755)

    done = subprocess.run(
        [
            shutil.which("bash") or "bash",
            "-euc",
            f"fail() {{ exit 1; }}; {function('find_python')}; find_python",
        ],
        env={"PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == found


def checked(folder: Path | bytes) -> "subprocess.CompletedProcess[bytes]":
    command = f"{function('fail')}; {function('check_folder')}; check_folder"
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )


def function(name: str) -> str:
    """One of its functions; the whole of it would install things."""
    _, _, rest = SETUP.read_text().partition(f"\n{name}() {{")
    body, _, _ = rest.partition("\n}\n")
    return f"{name}() {{{body}\n}}"
