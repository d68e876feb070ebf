"""Every contract there is, by method."""

from typing import Any

from shared.contracts.auth import CreateSession
from shared.contracts.base import Request
from shared.contracts.catalog import GetProduct, ListCategories, ListProducts

CONTRACTS: dict[str, type[Request[Any]]] = {
    contract.method: contract
    for contract in (CreateSession, GetProduct, ListCategories, ListProducts)
}
