"""Who there is, and what each service may do: ``services.toml``, which explains its fields."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from shared.contracts.registry import CONTRACTS, EVENTS, JOBS
from shared.messaging.keys import Identity
from shared.messaging.names import SCALER, work_queue


class ServicesFileError(Exception):
    """services.toml is missing or wrong; the message says where."""


class Service(BaseModel):
    """One table of services.toml, which explains the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: bool = False
    calls: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    enqueues: tuple[str, ...] = ()
    works: dict[str, tuple[str, ...]] = {}
    watches: tuple[str, ...] = ()
    acts_for_users: bool = False
    issues_tokens: bool = False
    redrives: bool = False


class Services(RootModel[dict[str, Service]]):
    """All services, by name."""

    @property
    def names(self) -> list[str]:
        """Name the services, in the file's order."""
        return list(self.root)

    @property
    def work_queues(self) -> set[str]:
        """Name the queues of events and jobs."""
        return {
            work_queue(name, queue)
            for name, service in self.root.items()
            for queue in service.works
        }

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read services.toml.

        Raises:
            ServicesFileError: it is not TOML, or grants what no contract offers.
        """
        try:
            services = cls.model_validate(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise ServicesFileError(str(error)) from error
        for name, service in services.root.items():
            _check_name(name)
            if name == SCALER:
                raise ServicesFileError(f"{name} is the name of a broker user of our own")
            _check_rights(name, "calls", service.calls, CONTRACTS)
            _check_rights(name, "publishes", service.publishes, EVENTS)
            _check_rights(name, "listens", service.listens, EVENTS)
            _check_rights(name, "enqueues", service.enqueues, JOBS)
            for queue, taken in service.works.items():
                _check_name(queue)
                _check_rights(name, f"works.{queue}", taken, [*EVENTS, *JOBS])
        for name, service in services.root.items():
            if strange := set(service.watches) - services.work_queues:
                raise ServicesFileError(f"{name}: there is no queue {min(strange)} to watch")
        return services


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ServicesFileError(f"{name!r} is no name: use a-z, 0-9 and _")


def _check_rights(name: str, field: str, rights: Iterable[str], contracts: Iterable[str]) -> None:
    for right in rights:
        if not any(re.fullmatch(key_pattern(right), contract) for contract in contracts):
            raise ServicesFileError(f"{name}: there is no contract for {field} = {right!r}")


def load_services(path: Path) -> Services:
    """Read services.toml from a file.

    Raises:
        ServicesFileError: it cannot be read, or is wrong.
    """
    try:
        return Services.parse(path.read_text())
    except OSError as error:
        raise ServicesFileError(f"cannot read {path}: {error.strerror}") from error


def key_pattern(right: str) -> str:
    """Write a right as a regular expression: a whole name, or a prefix that ends in ``.*``."""
    return re.escape(right[:-1]) + ".*" if right.endswith(".*") else re.escape(right)


def trust_bundle(services: Services, identities: Iterable[Identity]) -> dict[str, object]:
    """Put everybody's public keys and rights together (``shared.messaging.keys.TrustBundle``)."""
    return {
        "services": {
            identity.service: {
                "keys": identity.public()["keys"],
                "calls": list(services.root[identity.service].calls),
                "publishes": list(services.root[identity.service].publishes),
                "enqueues": list(services.root[identity.service].enqueues),
                "listens": list(services.root[identity.service].listens),
                "acts_for_users": services.root[identity.service].acts_for_users,
                "issues_tokens": services.root[identity.service].issues_tokens,
                "redrives": services.root[identity.service].redrives,
            }
            for identity in identities
        }
    }
