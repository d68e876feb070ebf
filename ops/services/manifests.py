"""Our own services: those whose packages beside ``ops`` have a ``service.toml``."""

from collections.abc import Mapping
from functools import cache
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from postroad.contracts import registry
from postroad.contracts.base import Event, Job, Request
from postroad.topology.manifest import Manifest, find_manifests, services_of
from postroad.topology.services import Services

ROOT = Path(__file__).parents[2]


def manifests() -> tuple[Manifest, ...]:
    """Return the manifests, in the order in which their programs start; contracts are registered.

    Raises:
        ServicesFileError: one is wrong.
    """
    return _manifests(ROOT)


def our_services() -> Services:
    """Return our own services, and what each may do.

    Raises:
        ServicesFileError: a manifest is wrong.
    """
    return services_of(manifests())


def program_names() -> dict[str, str]:
    """Return the service of each program."""
    return {program: each.name for each in manifests() for program in each.programs}


def requests() -> Mapping[str, type[Request[Any]]]:
    """Return the requests of the library and of our own services, by method."""
    manifests()
    return registry.CONTRACTS


def events() -> Mapping[str, type[Event]]:
    """Return the events of the library and of our own services, by name."""
    manifests()
    return registry.EVENTS


def jobs() -> Mapping[str, type[Job]]:
    """Return the jobs of the library and of our own services, by name."""
    manifests()
    return registry.JOBS


def read_again() -> None:
    """Find services that have come; contracts that were imported before stay as they are.

    Raises:
        ServicesFileError: a manifest is wrong.
    """
    invalidate_caches()
    _manifests.cache_clear()
    manifests()


@cache
def _manifests(root: Path) -> tuple[Manifest, ...]:
    return tuple(find_manifests(root))
