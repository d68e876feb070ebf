"""Whether there is a Docker engine to take servers from."""

import shutil
import subprocess

TIMEOUT_S = 2.0


def docker_answers() -> bool:
    """Say whether Docker is installed, and its engine runs."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "info"], check=False, timeout=TIMEOUT_S, capture_output=True
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0
