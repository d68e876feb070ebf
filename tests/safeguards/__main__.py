"""Take each safeguard out of a copy of the project, and see every test that is named for it fail.

python -m tests.safeguards [WORD]      those whose name holds the word
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.safeguards.listed import SAFEGUARDS, Safeguard

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 600.0
TESTS_FAILED = 1  # pytest's exit code; others mean that they did not run
_FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)


def take_out(safeguard: Safeguard, copy: Path) -> None:
    """Edit a copy of the project.

    Raises:
        ValueError: a text to be replaced is not there exactly once; the list is out of date.
    """
    for edit in safeguard.edits:
        file = copy / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(f"{safeguard.name}: {edit.file} has not once: {edit.old}")
        file.write_text(text.replace(edit.old, edit.new))


def failing(safeguard: Safeguard, copy: Path) -> set[str]:
    """Run a safeguard's tests in a copy, and name those that fail."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        + ["--timeout=60", *safeguard.tests],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if ran.returncode not in (0, TESTS_FAILED):
        raise RuntimeError(f"{safeguard.name}: pytest did not run\n{ran.stdout}{ran.stderr}")
    return set(_FAILED.findall(ran.stdout))


def copy_project(to: Path) -> None:
    """Copy what is under version control, or would be."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def main() -> int:
    word = " ".join(sys.argv[1:])
    missing = 0
    for safeguard in [each for each in SAFEGUARDS if word in each.name]:
        with tempfile.TemporaryDirectory(prefix="postroad-") as folder:
            copy_project(Path(folder))
            take_out(safeguard, Path(folder))
            failed = failing(safeguard, Path(folder))
        for test in safeguard.tests:
            missing += test not in failed
            print(
                f"{'fails' if test in failed else 'HOLDS':6} {safeguard.name}: {test}", flush=True
            )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
