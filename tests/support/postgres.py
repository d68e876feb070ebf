"""A real PostgreSQL for the tests: a container where Docker answers, else a server of our own.

There is no third way: without either, the tests that need it fail.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from testcontainers.core.container import DockerContainer

from ops.local.ports import LOOPBACK
from tests.support.docker import docker_gives, image_of

DEFAULT_IMAGE = "postgres:17-alpine"
START_TIMEOUT_S = 60
_USER = "postroad"
_numbers = itertools.count()


class CannotStart(Exception):
    """There is no PostgreSQL to test with; the message says why."""


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL; ``url`` ends where the name of a database begins."""

    url: str
    query: str

    def new_database(self) -> str:
        """Make an empty database, and give its URL."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.database("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.database(name)

    def drop_database(self, url: str) -> None:
        """Delete a database with all that is in it."""
        name = url.removeprefix(self.url).partition("?")[0]
        with psycopg.connect(self.database("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def database(self, database: str) -> str:
        """Give a database's URL for the superuser."""
        return f"{self.url}{database}{self.query}"


@contextmanager
def running_postgres() -> Iterator[Server]:
    """Start a PostgreSQL, and remove it afterwards.

    Raises:
        CannotStart: Docker does not answer, and there are no PostgreSQL programs either.
    """
    image = image_of("POSTGRES_IMAGE", DEFAULT_IMAGE)
    with _container(image) if docker_gives(image) else private_server() as server:
        yield server


@contextmanager
def _container(image: str) -> Iterator[Server]:
    container = (
        DockerContainer(image)
        .with_env("POSTGRES_USER", _USER)
        .with_env("POSTGRES_PASSWORD", _USER)
        .with_env("POSTGRES_DB", "postgres")
    )
    # On one address: Docker may choose another port for IPv6, and `localhost` means either.
    port: Any = {"5432/tcp": (LOOPBACK, None)}
    container.ports = port
    with container:
        where = f"{LOOPBACK}:{container.get_exposed_port(5432)}"
        server = Server(f"postgresql://{_USER}:{_USER}@{where}/", "")
        _await(server)
        yield server


def _await(server: Server) -> None:
    """Wait until a server in a container lets us in: before, its port accepts and hangs up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.database("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL did not start: {error}") from error
            time.sleep(0.1)
        else:
            return


@dataclass(frozen=True)
class PrivateServer(Server):
    """A PostgreSQL in a folder, which can be stopped and started; a socket in it is its address."""

    folder: Path
    owner: pwd.struct_passwd | None

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("start", "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        """End it at once, with every session; by the process id in its folder."""
        self._control("stop", "-m", "immediate")

    def _control(self, action: str, *arguments: str | Path) -> None:
        where = ("-D", self.folder / "data", "-w", "-t", str(START_TIMEOUT_S))
        _run(self.owner, "pg_ctl", action, *where, *arguments)


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    """Run the system's PostgreSQL in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="postroad-") as name:
        folder, owner = Path(name), unprivileged_user()
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        _run(owner, "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        server = PrivateServer(f"postgresql://{_USER}@/", f"?host={folder}", folder, owner)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _run(owner: pwd.struct_passwd | None, program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [find_program(program), *arguments],
        check=False,
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # no pipe: the server would keep it open
        stderr=None,
    )
    if done.returncode:
        raise CannotStart(f"{program} failed")


def unprivileged_user() -> pwd.struct_passwd | None:
    """Give the user to run as, none to stay who we are: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotStart("PostgreSQL does not run as root, and there is no user postgres or nobody")


def find_program(name: str) -> str:
    """Find one of PostgreSQL's programs: in PATH, else of the newest version that is installed.

    Raises:
        CannotStart: it is not installed.
    """
    if found := shutil.which(name):
        return found
    installed = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    versions = sorted(installed, key=lambda path: float(path.parts[-3]))
    if not versions:
        raise CannotStart(f"Docker does not answer, and there is no {name}: install PostgreSQL")
    return str(versions[-1])
