"""Every contract there is, by name."""

from typing import Any

from shared.contracts.auth import (
    CreateSession,
    EndSession,
    GetOwnUser,
    ListRevocations,
    RefreshSession,
)
from shared.contracts.base import Event, Request
from shared.contracts.catalog import GetProduct, ListCategories, ListProducts
from shared.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked

CONTRACTS: dict[str, type[Request[Any]]] = {
    contract.method: contract
    for contract in (
        CreateSession,
        EndSession,
        GetOwnUser,
        ListRevocations,
        RefreshSession,
        GetProduct,
        ListCategories,
        ListProducts,
    )
}

EVENTS: dict[str, type[Event]] = {
    event.name: event for event in (LoginFailed, LoginSucceeded, SessionRevoked)
}
