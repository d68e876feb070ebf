"""Every contract there is, by name: the library's own, and those that ``register`` adds."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, TypeVar

from postroad.contracts.auth import (
    ChangePassword,
    CreateSession,
    EndOwnSession,
    EndSession,
    GetOwnUser,
    ListOwnSessions,
    ListRevocations,
    RefreshSession,
)
from postroad.contracts.base import Event, Job, Message, Request
from postroad.contracts.catalog import GetProduct, ListCategories, ListProducts
from postroad.contracts.events import (
    LoginFailed,
    LoginSucceeded,
    ProductAdded,
    ProductPriceChanged,
    ProductRemoved,
    SessionRevoked,
    SyncRequested,
)
from postroad.contracts.probes import ProbeSessions, ProbeSyncs
from postroad.contracts.syncs import FetchPage, GetSync, StartSync

ContractT = TypeVar("ContractT", bound=type[Message])


def by_name(
    name_of: Callable[[ContractT], str],
    contracts: Iterable[ContractT],
    *others: Mapping[str, type[Message]],
) -> dict[str, ContractT]:
    """Return contracts by their names.

    Raises:
        TypeError: two have one name, or one has that of another kind of contract.
    """
    named: dict[str, ContractT] = {}
    taken = {name: contract for other in others for name, contract in other.items()}
    for contract in contracts:
        name = name_of(contract)
        if name in taken:
            raise TypeError(f"{contract.__name__}: {name!r} is {taken[name].__name__} already")
        named[name] = taken[name] = contract
    return named


CONTRACTS: dict[str, type[Request[Any]]] = by_name(
    attrgetter("method"),
    (
        ChangePassword,
        CreateSession,
        EndOwnSession,
        EndSession,
        GetOwnUser,
        ListOwnSessions,
        ListRevocations,
        ProbeSessions,
        RefreshSession,
        GetProduct,
        GetSync,
        ListCategories,
        ListProducts,
        ProbeSyncs,
        StartSync,
    ),
)

EVENTS: dict[str, type[Event]] = by_name(
    attrgetter("name"),
    (
        LoginFailed,
        LoginSucceeded,
        ProductAdded,
        ProductPriceChanged,
        ProductRemoved,
        SessionRevoked,
        SyncRequested,
    ),
    CONTRACTS,
)

JOBS: dict[str, type[Job]] = by_name(attrgetter("name"), (FetchPage,), CONTRACTS, EVENTS)


def register(contracts: Iterable[type[Request[Any]] | type[Event] | type[Job]]) -> None:
    """Add contracts of a package of one's own; one that is there already changes nothing.

    Raises:
        TypeError: another contract has the name.
    """
    for contract in contracts:
        name = contract.method if issubclass(contract, Request) else contract.name
        known = CONTRACTS.get(name) or EVENTS.get(name) or JOBS.get(name)
        if known is not None and known is not contract:
            raise TypeError(f"{contract.__name__}: {name!r} is {known.__name__} already")
        if issubclass(contract, Request):
            CONTRACTS[name] = contract
        elif issubclass(contract, Event):
            EVENTS[name] = contract
        else:
            JOBS[name] = contract
