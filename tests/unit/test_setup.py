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


FULL = 'case $2 in *_base_executable*) echo "$0";; esac'
BARE = f"case $2 in *ensurepip*) exit 1;; esac; {FULL}"
OLD = "exit 1"
SHIM = "echo 'pyenv: command not found' >&2; exit 127"


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"a/python3": FULL, "a/python3.11": FULL}, "a/python3.11"),
        ({"a/python3.11": FULL, "a/python3.14": FULL, "a/python3.12": FULL}, "a/python3.14"),
        ({"a/python3.14": SHIM, "a/python3.13": FULL}, "a/python3.13"),
        ({"a/python3.14": SHIM, "b/python3.14": FULL, "b/python3.13": FULL}, "b/python3.14"),
        ({"a/python3.14": BARE, "a/python3.13": FULL}, "a/python3.13"),
        ({"a/python3.14": BARE, "a/python3": FULL}, "a/python3"),
        ({"a/python3": OLD, "b/python3": FULL}, "b/python3"),
        ({"a/python3": OLD, "a/python3.14": BARE}, ""),
    ],
)
def test_the_newest_python_that_can_make_an_environment_is_taken(
    tmp_path: Path, there: dict[str, str], found: str
) -> None:
    for name, what_it_does in there.items():
        interpreter = tmp_path / name
        interpreter.parent.mkdir(exist_ok=True)
        interpreter.write_text(f"#!/bin/sh\n{what_it_does}\n")
        interpreter.chmod(0o755)

    done = find_python({"PATH": f"{tmp_path / 'a'}:{tmp_path / 'b'}"})

    assert done.stdout.strip() == (str(tmp_path / found) if found else "")


def test_the_python_that_somebody_names_is_taken(tmp_path: Path) -> None:
    named = tmp_path / "mine"
    named.write_text(f"#!/bin/sh\n{FULL}\n")
    named.chmod(0o755)

    done = find_python({"PATH": os.environ["PATH"], "BASE_PYTHON": str(named)})

    assert done.stdout.strip() == str(named)


def find_python(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    functions = "; ".join(map(function, ["base_of", "makes_venvs", "find_python"]))
    return subprocess.run(
        [shutil.which("bash") or "bash", "-euc", f"fail() {{ exit 1; }}; {functions}; find_python"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


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
