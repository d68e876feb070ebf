"""What the answers must be: computed from the sample data, not from what the system says."""

import hashlib
import json
from typing import Any

from postroad.contracts.catalog import Product, ProductPage
from sample_api.catalogue import Catalogue
from tests.faults.system import PRODUCTS

PAGE_LIMIT = 5  # products on each page that is asked for
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
