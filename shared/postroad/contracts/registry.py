"""Every contract there is, by name."""

from typing import Any

from postroad.contracts.auth import (
    CreateSession,
    EndSession,
    GetOwnUser,
    ListRevocations,
    RefreshSession,
)
from postroad.contracts.base import Event, Job, Request
from postroad.contracts.catalog import (
    FetchPage,
    GetProduct,
    GetSync,
    ListCategories,
    ListProducts,
    StartSync,
)
from postroad.contracts.events import (
    LoginFailed,
    LoginSucceeded,
    ProductAdded,
    ProductPriceChanged,
    ProductRemoved,
    SessionRevoked,
    SyncRequested,
)

CONTRACTS: dict[str, type[Request[Any]]] = {
    contract.method: contract
    for contract in (
        CreateSession,
        EndSession,
        GetOwnUser,
        ListRevocations,
        RefreshSession,
        GetProduct,
        GetSync,
        ListCategories,
        ListProducts,
        StartSync,
    )
}

EVENTS: dict[str, type[Event]] = {
    event.name: event
    for event in (
        LoginFailed,
        LoginSucceeded,
        ProductAdded,
        ProductPriceChanged,
        ProductRemoved,
        SessionRevoked,
        SyncRequested,
    )
}

JOBS: dict[str, type[Job]] = {job.name: job for job in (FetchPage,)}
