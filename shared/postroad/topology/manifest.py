"""``service.toml``: what a service is, what it may do, how it runs, and what it offers over HTTP.

A service keeps the file in its package, beside its code. Queues, permissions, programs, scaling
and HTTP routes come from it; docs/service-toml.md explains each field.
"""

import tomllib
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from postroad.contracts.base import Event, Job, Request
from postroad.contracts.errors import explain
from postroad.contracts.probes import Readiness
from postroad.contracts.registry import CONTRACTS, register
from postroad.topology.names import rpc_queue, work_queue
from postroad.topology.services import Contract, Service, Services, ServicesFileError, check_name

FILE_NAME = "service.toml"
ENTRY_POINTS = "postroad.services"  # a distribution names its packages that have the file


def _name(text: str) -> str:
    try:
        check_name(text)
    except ServicesFileError as error:
        raise ValueError(error) from None
    return text


Name = Annotated[str, AfterValidator(_name)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scaling(_Table):
    """How many processes of a program run, by the depth of its queue."""

    queue: str
    messages_per_process: int = Field(gt=0)
    max_processes: int = Field(10, gt=0)

    @property
    def is_rpc(self) -> bool:
        """Whether callers wait for what is in the queue."""
        return self.queue.startswith(rpc_queue(""))


class Program(_Table):
    """A process of the service: ``python -m module``."""

    module: str
    scaling: Scaling | None = None  # none: one process


class Database(_Table):
    """The service's database; its variables begin with the service's name."""

    migrate: str  # the module that brings its tables up to date


class HttpRoute(_Table):
    """A route of the bridge that passes one contract on for a signed-in user."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str = Field(pattern=r"^/")
    contract: str  # its method, as in ``catalog.products.list``
    link: str | None = None
    wrapped: bool = False
    conditional: bool = False
    no_content_unless: tuple[str, ...] | None = None
    location: str | None = None


class Manifest(_Table):
    """A ``service.toml``."""

    name: Name
    contracts: tuple[str, ...] = ()  # modules
    rights: Service = Service()
    programs: dict[Name, Program] = {}
    database: Database | None = None
    http: tuple[HttpRoute, ...] = ()
    http_statuses: dict[str, Annotated[int, Field(ge=400, le=599)]] = {}  # of errors, by code
    development: dict[str, str] = {}

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Return the package that holds the file."""
        return self._folder

    @model_validator(mode="after")
    def _scales_by_queues_of_its_own(self) -> Self:
        queues = {work_queue(self.name, key) for key in self.rights.works}
        if self.rights.answers:
            queues.add(rpc_queue(self.name))
        for name, program in self.programs.items():
            if program.scaling is not None and program.scaling.queue not in queues:
                raise ValueError(
                    f"programs.{name}.scaling.queue: the service has no queue "
                    f"{program.scaling.queue}; it has {', '.join(sorted(queues)) or 'none'}"
                )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a ``service.toml``.

        Raises:
            ServicesFileError: it cannot be read, or is wrong.
        """
        try:
            manifest = cls.model_validate(tomllib.loads(path.read_text()))
        except OSError as error:
            raise ServicesFileError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ServicesFileError(f"{path} is not UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise ServicesFileError(f"{path}: {error}") from error
        except ValidationError as error:
            raise ServicesFileError(f"{path}: {explain(error)}") from error
        manifest._folder = path.parent  # noqa: SLF001  # our own class
        return manifest


def find_manifests(root: Path) -> list[Manifest]:
    """Return the services of an application: those in packages of ``root``, and installed ones.

    Their contracts are imported and registered. The service that offers HTTP comes last.

    Raises:
        ServicesFileError: a file is wrong, two have one name, or a contract cannot be imported.
    """
    found: dict[str, Manifest] = {}
    programs: dict[str, str] = {}
    for path in [*sorted(root.glob(f"*/{FILE_NAME}")), *_installed()]:
        manifest = Manifest.load(path)
        if manifest.name in found:
            raise ServicesFileError(f"{path}: there is a service {manifest.name} already")
        for program in manifest.programs:
            if program in programs:
                raise ServicesFileError(f"{path}: {programs[program]} has a program {program}")
            programs[program] = manifest.name
        found[manifest.name] = manifest
        try:
            register(_contracts_of(manifest))
        except (ImportError, TypeError) as error:
            raise ServicesFileError(f"{path}: contracts: {error}") from error
    return sorted(found.values(), key=lambda manifest: manifest.rights.offers_http)


def services_of(manifests: Iterable[Manifest]) -> Services:
    """Return who there is, and what each may do.

    Who offers HTTP may call what the routes of the others pass on, ask each service whether it is
    ready, and watch all work queues.

    Raises:
        ServicesFileError: something is granted that no contract offers.
    """
    manifests = list(manifests)
    probes = {name for name, contract in CONTRACTS.items() if contract.reply is Readiness}
    passed_on = probes | {route.contract for each in manifests for route in each.http}
    watched = {work_queue(each.name, key) for each in manifests for key in each.rights.works}
    for each in manifests:
        for route in each.http:
            if route.contract not in CONTRACTS:
                raise ServicesFileError(
                    f"{each.name}: {route.method} {route.path}: "
                    f"there is no contract {route.contract}"
                )
    services = Services(
        {
            each.name: _with(each.rights, passed_on, watched)
            if each.rights.offers_http
            else each.rights
            for each in manifests
        }
    )
    services.check()
    return services


def find_services(root: Path) -> Services:
    """Return who there is in an application, and what each may do: see ``find_manifests``."""
    return services_of(find_manifests(root))


def _contracts_of(manifest: Manifest) -> Iterator[Contract]:
    for module in map(import_module, manifest.contracts):
        for contract in _defined_in(module):
            if contract.service != manifest.name:
                raise TypeError(
                    f"{contract.__name__}: the first word of its name must be the service's, "
                    f"{manifest.name}, not {contract.service}"
                )
            yield contract


def _defined_in(module: ModuleType) -> Iterator[Contract]:
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, Request | Event | Job)
            and value.__module__ == module.__name__
            and "service" in vars(value)  # else it is a base of several
        ):
            yield value


def _with(rights: Service, calls: set[str], watches: set[str]) -> Service:
    return rights.model_copy(
        update={
            "calls": tuple(sorted({*rights.calls, *calls})),
            "watches": tuple(sorted({*rights.watches, *watches})),
        }
    )


def _installed() -> Iterator[Path]:
    for entry in entry_points(group=ENTRY_POINTS):
        package = import_module(entry.module)
        yield Path(str(package.__file__)).with_name(FILE_NAME)
