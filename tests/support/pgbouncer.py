"""A PgBouncer before the tests' PostgreSQL, in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url

from tests.support.postgres import unprivileged_user

START_TIMEOUT_S = 10
_PORT = 6432  # the name of the socket; nothing listens on TCP


@contextmanager
def pooled(url: str, pool_mode: str, sessions: int) -> Iterator[str]:
    """Run a PgBouncer, and yield the URL of a database through it; skip where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer: bin/setup --dev installs Debian's")
    owner = unprivileged_user()
    with tempfile.TemporaryDirectory(prefix="postroad-") as name:
        folder = Path(name)
        through = make_url(url).set(
            host=None, port=None, query={"host": str(folder), "port": str(_PORT)}
        )
        _configure(
            folder, url, through, f"pool_mode = {pool_mode}\ndefault_pool_size = {sessions}\n"
        )
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [program, folder / "pgbouncer.ini"],
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                stdout=log,
                stderr=log,
            )
            try:
                pooled_url = through.render_as_string(hide_password=False)
                _await(pooled_url, folder / "log")
                yield pooled_url
            finally:
                process.terminate()
                process.wait(10)


def _configure(folder: Path, url: str, through: URL, settings: str) -> None:
    server = conninfo_to_dict(url)
    wanted = ("host", "port", "user", "password")
    where = " ".join(f"{name}={server[name]}" for name in wanted if server.get(name))
    (folder / "users.txt").write_text(f'"{through.username}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = {where}\n[pgbouncer]\n{settings}listen_addr =\n"
        f"listen_port = {_PORT}\nunix_socket_dir = {folder}\nauth_type = trust\n"
        f"auth_file = {folder}/users.txt\n"
    )


def _await(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=5, prepare_threshold=None).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"PgBouncer did not start: {error}; {log.read_text()}"
                ) from error
            time.sleep(0.05)
        else:
            return
