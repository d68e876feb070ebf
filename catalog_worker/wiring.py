"""The catalogue service's table of contents."""

from functools import partial

from catalog_worker.handlers import Catalog, get_product, list_categories, list_products
from shared.contracts.catalog import GetProduct, ListCategories, ListProducts
from shared.messaging.worker import Handlers


def build_handlers(*, catalog: Catalog) -> Handlers:
    """Pair each contract with what answers it."""
    return {
        GetProduct: partial(get_product, catalog=catalog),
        ListCategories: partial(list_categories, catalog=catalog),
        ListProducts: partial(list_products, catalog=catalog),
    }
