"""Who there is, and what each service may do.

Our own say so in the ``service.toml`` of their package (``postroad.topology.manifest``), those that
were added to a running system in the ``services.toml`` of its state folder.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from postroad.contracts.base import Event, Job, Request
from postroad.contracts.errors import explain
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS, by_name
from postroad.security.keys import Identity
from postroad.topology.names import SCALER, work_queue

Contract = type[Request[Any]] | type[Event] | type[Job]

# That of a PostgreSQL role; queues, files and certificates take one more at least.
_NAME_MAX = 63


class ServicesFileError(Exception):
    """A service.toml or services.toml is missing or wrong; the message says where."""


class Service(BaseModel):
    """What a service may do; docs/service-toml.md explains the fields."""

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
    offers_http: bool = False
    connections: int = 50


class Services(RootModel[dict[str, Service]]):
    """All services, by name."""

    _own: tuple[Contract, ...] = ()  # contracts besides the registry's

    @property
    def requests(self) -> dict[str, type[Request[Any]]]:
        """Every request by its method."""
        own = [each for each in self._own if issubclass(each, Request)]
        return CONTRACTS | by_name(attrgetter("method"), own, CONTRACTS, EVENTS, JOBS)

    @property
    def events(self) -> dict[str, type[Event]]:
        """Every event by its name."""
        own = [each for each in self._own if issubclass(each, Event)]
        return EVENTS | by_name(attrgetter("name"), own, self.requests, EVENTS, JOBS)

    @property
    def jobs(self) -> dict[str, type[Job]]:
        """Every job by its name."""
        own = [each for each in self._own if issubclass(each, Job)]
        return JOBS | by_name(attrgetter("name"), own, self.requests, self.events, JOBS)

    @property
    def offers(self) -> Mapping[str, Collection[str]]:
        """What each field of a service can name."""
        return {
            "calls": self.requests,
            "publishes": self.events,
            "listens": self.events,
            "enqueues": self.jobs,
        }

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
    def parse(cls, text: str, contracts: Iterable[Contract] = ()) -> Self:
        """Read services.toml.

        ``contracts`` are those of a package of one's own, which the registry does not have.

        Raises:
            ServicesFileError: it is not TOML, or grants what no contract offers.
            TypeError: two contracts have one name.
        """
        services = cls.read(text)
        services._own = tuple(contracts)  # noqa: SLF001  # our own class
        services.check()
        return services

    @classmethod
    def read(cls, text: str) -> Self:
        """Read services.toml, whether or not there is what it grants.

        Raises:
            ServicesFileError: it is not TOML, has other fields, or a bad name.
        """
        try:
            services = cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ServicesFileError(str(error)) from error
        except ValidationError as error:
            raise ServicesFileError(explain(error)) from error
        for name in services.root:  # each names a folder
            check_name(name)
        return services

    def check(self) -> None:
        """Raise ``ServicesFileError`` for a name of ours, or a right to what no contract offers."""
        offers = self.offers
        for name, service in self.root.items():
            if name == SCALER:
                raise ServicesFileError(f"{name} is the name of a broker user of our own")
            for field, contracts in offers.items():
                _check_rights(name, field, getattr(service, field), contracts)
            for queue, taken in service.works.items():
                check_name(queue)
                _check_rights(
                    name, f"works.{queue}", taken, [*offers["publishes"], *offers["enqueues"]]
                )
        for name, service in self.root.items():
            if strange := set(service.watches) - self.work_queues:
                raise ServicesFileError(f"{name}: there is no queue {min(strange)} to watch")


def check_name(name: str) -> None:
    """Raise ``ServicesFileError`` for what cannot name a service, a queue or a program."""
    if len(name) > _NAME_MAX:
        raise ServicesFileError(
            f"{name[:_NAME_MAX]}… is not a valid name: {len(name)} characters, {_NAME_MAX} at most"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ServicesFileError(f"{name!r} is not a valid name: use a-z, 0-9 and _")


def _check_rights(name: str, field: str, rights: Iterable[str], contracts: Iterable[str]) -> None:
    for right in rights:
        if not _is_offered(right, contracts):
            raise ServicesFileError(f"{name}: there is no contract for {field} = {right!r}")


def _is_offered(right: str, contracts: Iterable[str]) -> bool:
    return any(re.fullmatch(key_pattern(right), contract) for contract in contracts)


def without_stale_rights(service: Service) -> Service:
    """Leave away what a service may call, publish, listen to or enqueue that is no more."""
    return service.model_copy(
        update={
            field: tuple(each for each in getattr(service, field) if _is_offered(each, contracts))
            for field, contracts in Services({}).offers.items()
        }
    )


def load_services(path: Path, contracts: Iterable[Contract] = ()) -> Services:
    """Read services.toml from a file.

    ``contracts`` are those of a package of one's own, which the registry does not have.

    Raises:
        ServicesFileError: it cannot be read, or is wrong.
        TypeError: two contracts have one name.
    """
    try:
        return Services.parse(path.read_text(), contracts)
    except OSError as error:
        raise ServicesFileError(f"cannot read {path}: {error.strerror}") from error
    except ServicesFileError as error:
        raise ServicesFileError(f"{path}: {error}") from error


def key_pattern(right: str) -> str:
    """Write a right as a regular expression: a whole name, or a prefix that ends in ``.*``."""
    return re.escape(right[:-1]) + ".*" if right.endswith(".*") else re.escape(right)


def trust_bundle(services: Services, identities: Iterable[Identity]) -> dict[str, object]:
    """Put everybody's public keys and rights together (``postroad.security.keys.TrustBundle``)."""
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
