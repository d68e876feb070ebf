"""Whether there is a Docker engine to take servers from."""

import os
import shutil
import subprocess
from functools import cache

from testcontainers.core.config import testcontainers_config

ANSWER_TIMEOUT_S = 10.0
PULL_TIMEOUT_S = 300.0


@cache
def docker_answers() -> bool:
    """Say whether Docker is installed, and its engine runs.

    Raises:
        RuntimeError: it does not, and TESTS_NEED_DOCKER says that no test may be left out for it.
    """
    answers = shutil.which("docker") is not None and _succeeds("info", timeout_s=ANSWER_TIMEOUT_S)
    if not answers and os.environ.get("TESTS_NEED_DOCKER"):
        raise RuntimeError("Docker does not answer, and TESTS_NEED_DOCKER is set")
    return answers


@cache
def docker_gives(image: str) -> bool:
    """Say whether Docker answers, and has an image or can pull it.

    An engine that reaches no registry is as good as none: the servers are then the system's own.
    """
    if not docker_answers():
        return False
    return _succeeds("image", "inspect", image, timeout_s=ANSWER_TIMEOUT_S) or _succeeds(
        "pull", "--quiet", image, timeout_s=PULL_TIMEOUT_S
    )


def image_of(variable: str, default: str) -> str:
    """Name the image to take; without its reaper, testcontainers does without it.

    The reaper removes the containers of a run that was killed.
    """
    image = os.environ.get(variable, default)
    if docker_gives(image) and not docker_gives(testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True
    return image


def _succeeds(*arguments: str, timeout_s: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments], check=False, timeout=timeout_s, capture_output=True
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
