"""The charts, drawn by a program that has what it takes to draw."""

import subprocess
from pathlib import Path

from benchmarks.environments import prepare_environment

HERE = Path(__file__).parent
LOCK = HERE / "scaling" / "requirements.txt"
ENVIRONMENT = Path(".postroad/charts").resolve()


def draw(folder: Path) -> None:
    """Draw what the JSON files of a folder say."""
    python = prepare_environment(ENVIRONMENT, LOCK)
    subprocess.run([python, HERE / "charts.py", folder], check=True)
