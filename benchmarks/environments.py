"""Virtual environments for what a benchmark needs and the project does not."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path


def prepare_environment(environment: Path, lock: Path) -> Path:
    """Make a virtual environment, once, from its lock file; give its interpreter."""
    stamp = environment / "stamp"
    python = environment / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        print(f"Installing {lock} (some seconds, once)", flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True)
        subprocess.run(
            [
                *(python, "-m", "pip", "install", "--quiet", "--no-cache-dir"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"),
                *("-r", lock),
            ],
            check=True,
            stdout=sys.stderr,
        )
        stamp.write_text(lock.read_text())
    return python
