"""What the answers must be: computed from the sample data, not from what the system says."""

import hashlib
import json
from typing import Any

from catalog_worker.sample_upstream.catalogue import Catalogue
from shared.contracts.catalog import Product, ProductPage
from tests.faults.system import PRODUCTS

_PRODUCTS = [Product.model_validate(each) for each in Catalogue(PRODUCTS)]


def digest(answer: Any) -> str:
    """Shorten an answer to what tells it from any other."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:16]


def product(number: int) -> str:
    """Give the digest of a product."""
    return digest(_PRODUCTS[number - 1].model_dump())


def page(skip: int, limit: int) -> str:
    """Give the digest of a page of products."""
    shown = _PRODUCTS[skip : skip + limit]
    page = ProductPage(data=shown, total=PRODUCTS, skip=skip, limit=len(shown))
    return digest(page.model_dump())


def answers() -> dict[str, str]:
    """Give the digest of each answer that can be asked for, by what it is about."""
    products = {f"product {number}": product(number) for number in range(1, PRODUCTS + 1)}
    pages = {f"page {skip}": page(skip, PAGE_LIMIT) for skip in range(PRODUCTS)}
    return products | pages


PAGE_LIMIT = 5
