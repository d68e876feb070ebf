"""What must be: answers, computed from the sample data, and times within which all is well."""

import hashlib
import json
from typing import Any

from postroad.contracts.catalog import Product, ProductPage
from sample_api.catalogue import Catalogue
from tests.faults.system import PRODUCTS

PAGE_LIMIT = 5  # products on each page that is asked for
# With a majority of nodes left, all is well after so many seconds though the fault is still there.
# What consumers held on the node is given to others after 10 s (consumer_disconnected_timeout). One
# that says nothing is missed after up to 18 s (postroad.broker.isolation) or 26 s (heartbeats).
WELL_WITHOUT_S = {"kill_leader": 20.0, "part_node": 40.0, "lose_node": 45.0}
_PRODUCTS = [Product.model_validate(each) for each in Catalogue(PRODUCTS)]


def digest(answer: Any) -> str:
    """Shorten an answer to what tells it from any other."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:16]


def answers() -> dict[str, str]:
    """Give the digest of each answer that can be asked for, by what it is about."""
    products = {f"product {each.id}": digest(each.model_dump()) for each in _PRODUCTS}
    pages = {f"page {skip}": digest(_page(skip).model_dump()) for skip in range(PRODUCTS)}
    return products | pages


def _page(skip: int) -> ProductPage:
    shown = _PRODUCTS[skip : skip + PAGE_LIMIT]
    return ProductPage(data=shown, total=PRODUCTS, skip=skip, limit=len(shown))
