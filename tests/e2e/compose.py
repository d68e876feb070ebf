"""A project of docker-compose.yml: everything that a test starts is its own, and removed."""

import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import httpx

from ops.local.ports import LOOPBACK, free_ports
from postroad.ids import new_id

ROOT = Path(__file__).parents[2]
UP_TIMEOUT_S = 300.0  # with images to pull and to build
TIMEOUT_S = 90.0
SETTINGS = "CATALOG_SYNC_PAGE_SIZE=50\n"  # what an operator has in settings.env


class CommandFailed(Exception):
    """Docker refused; the message ends with what it printed."""


def docker(
    *arguments: str,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run a Docker command from the project's folder; give what it prints.

    Raises:
        CommandFailed: it did not end with 0.
    """
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        cwd=ROOT,
        env=os.environ | (env or {}),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode:
        output = (done.stdout + done.stderr)[-4000:]
        raise CommandFailed(f"docker {' '.join(arguments)}: status {done.returncode}\n{output}")
    return done.stdout


class Compose:
    """One project of docker-compose.yml, under a name, a port and an image of its own.

    ``overrides``: further compose files to put over it.
    """

    def __init__(self, *overrides: str) -> None:
        (port,) = free_ports(1)
        self.name = f"postroad-test-{new_id()[-12:]}"
        self.url = f"http://{LOOPBACK}:{port}"
        self.settings = Path(mkdtemp()) / "settings.env"
        self._command = ["compose", "--project-name", self.name]
        for file in ("docker-compose.yml", *overrides):
            self._command += ["--file", file]
        self._env = {
            "PORT": str(port),
            "POSTROAD_IMAGE": self.name,
            "SETTINGS": str(self.settings),
            "BROKER_SUBNET": f"10.{random.randint(64, 254)}.{random.randint(0, 254)}",
        }

    def __call__(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> str:
        """Run ``docker compose``."""
        command = (*self._command, "--profile", "*", *arguments)
        return docker(*command, env=self._env, stdin=stdin, timeout_s=timeout_s)

    def up(self, *arguments: str) -> None:
        """Start what is not running, and wait until all of it is well."""
        docker(
            *(*self._command, "up", "--wait", *arguments),
            env=self._env,
            timeout_s=UP_TIMEOUT_S,
        )

    def postroad(self, *arguments: str) -> str:
        """Run the ``postroad`` command as an operator does, beside what runs already."""
        return self("run", "--rm", "--no-TTY", "--no-deps", "postroad", *arguments)

    def inspect(self) -> dict[str, dict[str, Any]]:
        """Describe the containers, by the name of their service (the last of several)."""
        containers = json.loads(docker("inspect", *self("ps", "--all", "--quiet").split()))
        return {
            container["Config"]["Labels"]["com.docker.compose.service"]: container
            for container in containers
        }

    def deprecated_features(self, broker: str) -> set[str]:
        """Return what a broker counts as used, and what it has warned of since it was made.

        The first without `rabbitmqctl list_deprecated_features --used`, which never lists any on
        4.3.6; the second because prefetches of a whole connection and the metrics of the
        management plugin are not counted. Before 3.13 there is neither.
        """
        module = "code:ensure_loaded(rabbit_deprecated_features)"
        asked = f"case {module} of {{module, It}} -> maps:keys(It:list(used)); _ -> [] end."
        counted = self("exec", "--no-TTY", broker, "rabbitmqctl", "--quiet", "eval", asked)
        logged = self("logs", "--no-log-prefix", broker)
        assert "Server startup complete" in logged
        warned = re.findall(r"Deprecated features: `(\w+)`", logged)
        return {*re.findall(r"[a-z]\w+", counted), *warned}

    def sign_in(self, username: str, password: str, *, role: str) -> httpx.Client:
        """Make a user as an operator makes the first one, and sign in."""
        add = ("users", "add", username, "--role", role, "--password-stdin")
        self("run", "--rm", "--no-TTY", "postroad", *add, stdin=f"{password}\n")
        credentials = {"username": username, "password": password}
        response = httpx.post(f"{self.url}/auth", json=credentials, timeout=10)
        assert response.status_code == 200, response.text
        token = response.json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=10)

    def run_image(self, *command: str) -> str:
        """Run a command in a container of the image, with nothing around it."""
        return docker("run", "--rm", "--network", "none", self.name, *command)


@contextmanager
def running_project(*overrides: str) -> Iterator[Compose]:
    """Build and start the whole system; remove all of it, whatever happens."""
    compose = Compose(*overrides)
    compose.settings.write_text(SETTINGS)
    try:
        compose.up("--build")
        yield compose
    finally:
        compose("down", "--volumes", "--remove-orphans", "--timeout", "25", "--rmi", "local")
        docker("image", "rm", "--force", compose.name)
        rmtree(compose.settings.parent)
