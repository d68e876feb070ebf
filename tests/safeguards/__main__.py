"""Take each safeguard out of a copy of the project, and see every test that is named for it fail.

python -m tests.safeguards [WORD]      those whose name holds the word
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.safeguards.listed import ROOT, Safeguard, safeguards

RUN_TIMEOUT_S = 900.0
TEST_TIMEOUT_S = 60  # without its safeguard a test may wait for what does not come
TESTS_FAILED = 1  # pytest's exit code; 0: none did; others: they were not run
PYTEST = ("-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(\[.*?\])?(?: - .*)?$", re.MULTILINE)


def copy_project(to: Path) -> None:
    """Copy what is under version control, or would be."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def failing(safeguard: Safeguard, copy: Path) -> set[str]:
    """Run a safeguard's tests in a copy, and name those that fail, also by their cases."""
    command = [sys.executable, *PYTEST, f"--timeout={TEST_TIMEOUT_S}", *safeguard.tests]
    ran = subprocess.run(
        command,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": f"{copy}:{copy / 'shared'}"},  # of its children, too
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if ran.returncode not in (0, TESTS_FAILED):
        raise RuntimeError(f"{safeguard.name}: pytest did not run\n{ran.stdout}{ran.stderr}")
    cases = _FAILED.findall(ran.stdout)
    return {test for test, _ in cases} | {test + case for test, case in cases}


def main() -> int:
    word = " ".join(sys.argv[1:])
    holding = 0
    for safeguard in [each for each in safeguards() if word in each.name]:
        with tempfile.TemporaryDirectory(prefix="postroad-") as folder:
            copy_project(Path(folder))
            safeguard.take_out(Path(folder))
            failed = failing(safeguard, Path(folder))
        print(f"{safeguard.name}: {safeguard.taken_out}")
        for test in safeguard.tests:
            holding += test not in failed
            print(f"  {'fails' if test in failed else 'HOLDS'}  {test}", flush=True)
    return 1 if holding else 0


if __name__ == "__main__":
    sys.exit(main())
