"""The state folder: what `postroad up` and `postroad provision` keep between runs.

.postroad/
    services/<service>/            what this service alone reads:
        identity.json                  its private keys
        broker.password                its password at the broker
        database.password              its password at PostgreSQL, if it has a database there
        tls/                           its certificate and key there, and whom it trusts
    services.toml                  services added by `postroad services add`
    revoked                        those revoked while nothing ran, whom the broker still knows
    trust/trust.json               everybody's public keys and rights, made anew at each start
    authority/                     the key that signs certificates; made by `postroad provision`
    broker/                        the broker's settings (definitions.json), and its data
        erlang.cookie                  by which the nodes of a cluster know each other
        tls/                           its certificate and key, and whom it trusts
    database/                      for PostgreSQL, where there is one:
        administrator.password         that of its superuser, whom nobody is
        roles.sql                      databases and roles; of passwords it holds hashes only
    users.db                       who may sign in, where there is none
    catalog.db                     products, in the same way
    log/                           what set-up and the broker had to say, who moved dead letters
        programs/                      what each program of `postroad up` logs, for `postroad logs`
    running.json                   where the running system listens
    scaling.json                   which processes it runs, and why as many
    control.sock                   where it is asked to restart a program
    lock                           held by the one that runs
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ops.state.files import find_link_of_others, find_of_others, make_folder
from postroad.security.files import write_private

SHARED_MODE = 0o644  # for the users of RabbitMQ and PostgreSQL; the state folder itself is closed
_UNUSABLE = re.compile("['\"`$?\n\ud800-\udfff]")  # surrogates stand for bytes that are not UTF-8
_LOCK_TRIES, _LOCK_PAUSE_S = 10, 0.02
_SQLITE_HEADER = b"SQLite format 3\0"  # the database file format, section 1.3


class StateError(Exception):
    """The state folder cannot be used; the message names the file and says what to do."""


def default_folder() -> Path:
    """Give the folder to use when no option names one: ``POSTROAD_STATE``, else ``.postroad``."""
    return Path(os.environ.get("POSTROAD_STATE") or ".postroad")


class StateFolder:
    """A state folder, made when missing, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self._given = folder.absolute()
        try:
            self.folder = folder.resolve()
        except RuntimeError as error:
            raise StateError(
                f"cannot use {folder}: its links lead in a circle; choose another with --state"
            ) from error
        self.services_file = self.folder / "services.toml"
        self.trust_file = self.folder / "trust" / "trust.json"
        self.users_file = self.folder / "users.db"
        self.catalog_file = self.folder / "catalog.db"
        self.cookie_file = self.folder / "cookies"
        self.authority_folder = self.folder / "authority"
        self.broker_folder = self.folder / "broker"
        self.definitions_file = self.broker_folder / "definitions.json"
        self.database_folder = self.folder / "database"
        self.broker_log = self.folder / "log" / "broker.log"
        self.dead_letters_log = self.folder / "log" / "dead-letters.log"
        self.programs_log_folder = self.folder / "log" / "programs"
        self.control_socket = self.folder / "control.sock"
        self._revoked_file = self.folder / "revoked"
        self._changes_file = self.folder / "changes"
        self._running_file = self.folder / "running.json"
        self._scaling_file = self.folder / "scaling.json"
        self._lock_file = self.folder / "lock"

    def own_folder(self, service: str) -> Path:
        return self.folder / "services" / service

    def identity_file(self, service: str) -> Path:
        return self.own_folder(service) / "identity.json"

    def password_file(self, service: str) -> Path:
        return self.own_folder(service) / "broker.password"

    @contextmanager
    def held(self, address: str) -> Iterator[None]:
        """Make the folder, and keep others from running on it meanwhile.

        Raises:
            StateError: it cannot be used, or somebody runs on it; then the message says where.
        """
        self._make()
        with self.usable(self.folder):
            lock = self._lock_file.open("a+")
        with lock:
            if not _locked(lock):
                lock.seek(0)
                raise StateError(
                    f"already running: {lock.read().strip() or self.folder}; stop it with Ctrl-C "
                    "there, or give this one a --state folder and a --port of its own"
                )
            lock.truncate(0)
            lock.write(f"{address} (process {os.getpid()})")
            lock.flush()
            self._check_users_file()
            self._forget_running()  # a run that was killed left it
            try:
                yield
            finally:
                self._forget_running()
                lock.truncate(0)

    def _forget_running(self) -> None:
        self._running_file.unlink(missing_ok=True)
        self._scaling_file.unlink(missing_ok=True)

    def holder(self) -> str | None:
        """Return who runs on the folder, as ``held`` was told, none when nobody does.

        Raises:
            StateError: the folder cannot be read, or is another user's.
        """
        self._check_owner()
        with (
            self.usable(self._lock_file),
            suppress(FileNotFoundError),
            self._lock_file.open() as lock,
        ):
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read() or str(self.folder)
        return None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make the folder, and wait for other commands that change keys or rights in it.

        Raises:
            StateError: it cannot be used.
        """
        self._make()
        with self.usable(self._changes_file):
            changes = self._changes_file.open("a")
        with changes:
            fcntl.flock(changes, fcntl.LOCK_EX)
            yield

    def _make(self) -> None:
        if _UNUSABLE.search(str(self.folder)):
            raise StateError(
                f"RabbitMQ and SQLite cannot be run in {self.folder}: its name has a quote, $, ?, "
                "a line break, or bytes that are not UTF-8; choose another folder with --state"
            )
        self._check_owner()
        with self.usable(self.folder):
            make_folder(self.folder)
            self._check_owner()  # somebody else may have made it meanwhile
            self.folder.chmod(0o700)  # it may have been made by another program
            if (path := find_of_others(self.folder)) is not None:  # put there while it was open
                raise StateError(
                    f"{path} belongs to another user, who could change what services trust; "
                    "delete it, or choose another folder with --state"
                )
            for folder in ("log", "broker"):
                make_folder(self.folder / folder)

    def _check_owner(self) -> None:
        """Refuse a folder whose owner could put other files into it, or have chosen another."""
        with self.usable(self._given):
            link = find_link_of_others(self._given)
        if link is not None:
            raise StateError(
                f"{link} is a link of another user to {self.folder}; choose another folder with "
                "--state, or name that one"
            )
        with self.usable(self.folder), suppress(FileNotFoundError):
            if self.folder.stat().st_uid not in (os.geteuid(), 0):
                raise StateError(
                    f"{self.folder} belongs to another user, who could change the keys in it; "
                    "choose another folder with --state"
                )

    def password(self, service: str) -> str:
        """Give a service's password at the broker, made the first time.

        Raises:
            StateError: the file is broken.
        """
        return self._password(self.password_file(service))

    def database_password(self, service: str) -> str:
        """Give a service's password at PostgreSQL, as ``password`` does that at the broker."""
        return self._password(self.own_folder(service) / "database.password")

    def server_secrets(self) -> None:
        """Make the secrets that RabbitMQ and PostgreSQL have for themselves."""
        self._password(self.broker_folder / "erlang.cookie", mode=SHARED_MODE)
        self._password(self.database_folder / "administrator.password", mode=SHARED_MODE)

    def _password(self, path: Path, *, mode: int = 0o600) -> str:
        with self.usable(path):
            if not path.exists():
                make_folder(path.parent)
                write_private(path, secrets.token_urlsafe(32), mode=mode)
            password = path.read_text().strip()
        if not password:
            raise StateError(self.broken(path, "it is empty"))
        return password

    def forget(self, service: str) -> None:
        """Delete a service's keys, password and certificate."""
        folder = self.own_folder(service)
        with self.usable(folder), suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def write_services(self, text: str) -> None:
        """Write which services have been added."""
        self._write(self.services_file, text)

    def revoked(self) -> set[str]:
        """Name those whom the broker has to forget at its next start."""
        with self.usable(self._revoked_file), suppress(FileNotFoundError):
            return set(self._revoked_file.read_text().split())
        return set()

    def write_revoked(self, names: set[str]) -> None:
        """Note whom the broker has to forget."""
        self._write(self._revoked_file, "".join(f"{name}\n" for name in sorted(names)))

    def write_trust(self, bundle: Mapping[str, object]) -> None:
        """Write what every service reads to know the others."""
        self._write(self.trust_file, json.dumps(bundle, indent=1))

    def write_definitions(self, definitions: Mapping[str, object]) -> None:
        """Write what a broker that others run imports; of passwords it holds hashes only."""
        self._write(self.definitions_file, json.dumps(definitions, indent=1), mode=SHARED_MODE)

    def write_overlay(self, name: str, definitions: Mapping[str, object]) -> None:
        """Write what brokers import while a system moves (``ops.moving.overlays``)."""
        self._write(self.broker_folder / name, json.dumps(definitions, indent=1), mode=SHARED_MODE)

    def write_roles(self, statements: str) -> None:
        """Write what PostgreSQL executes at its first start."""
        self._write(self.database_folder / "roles.sql", statements, mode=SHARED_MODE)

    def write_running(self, addresses: Mapping[str, object]) -> None:
        """Tell other commands where the running system listens."""
        self._write(self._running_file, json.dumps(addresses, indent=1))

    def running(self) -> dict[str, Any] | None:
        """Read where the running system listens, none when nothing runs or is up yet.

        Raises:
            StateError: the file is broken.
        """
        with self.usable(self._running_file):
            if self.holder() is None or not self._running_file.exists():
                return None
            addresses = json.loads(self._running_file.read_bytes())
            if not isinstance(addresses, dict):
                raise ValueError("it holds no addresses")
            return addresses

    def write_scaling(self, report: str) -> None:
        """Tell other commands which processes run, and why as many."""
        self._write(self._scaling_file, report)

    def scaling(self) -> str | None:
        """Read which processes run, none when nothing runs.

        Raises:
            StateError: the file cannot be read.
        """
        with self.usable(self._scaling_file), suppress(FileNotFoundError):
            return self._scaling_file.read_text()
        return None

    def _write(self, path: Path, text: str, *, mode: int = 0o600) -> None:
        with self.usable(path):
            make_folder(path.parent)
            write_private(path, text, mode=mode)

    def _check_users_file(self) -> None:
        with self.usable(self.users_file):
            if self.users_file.exists():
                with self.users_file.open("rb") as file:
                    header = file.read(len(_SQLITE_HEADER))
                if header not in (b"", _SQLITE_HEADER):
                    raise ValueError("it is not an SQLite database")

    @contextmanager
    def usable(self, path: Path) -> Iterator[None]:
        """Turn what goes wrong with a file into a sentence that says how to go on."""
        try:
            yield
        except OSError as error:
            where = error.filename or path
            raise StateError(
                f"cannot use {where}: {error.strerror}; see to that, or choose another folder with "
                "--state"
            ) from error
        except ValueError as error:
            raise StateError(self.broken(path, str(error))) from error

    def broken(self, path: Path, reason: str) -> str:
        """Say what is wrong with a file, and how to go on without losing any other."""
        remedies = {
            self.users_file: "move it away to begin with the users of a new system",
            self._revoked_file: "write into it who was revoked last, a name a line",
        }
        remedy = remedies.get(path, f"move it away, and it is made anew: mv {path} {path}.broken")
        if path.name in ("database.password", "administrator.password"):
            remedy += "; then give the new one to PostgreSQL: ALTER ROLE"
        return f"{path} is broken: {reason}; put a copy of it back, or {remedy}"


def _locked(lock: IO[str]) -> bool:
    """Take a lock, unless somebody keeps it; who only looks (``holder``) has it for a moment."""
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOCK_PAUSE_S)
    return False
