"""A cache, and the source it asks."""

from collections.abc import Iterator

import pytest

from catalog_worker.catalog.cache import CachedCatalog
from tests.support.shelf import Shelf, catalog_of


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.may_answer.set()


@pytest.fixture
def catalog(shelf: Shelf) -> CachedCatalog:
    return catalog_of(shelf)
