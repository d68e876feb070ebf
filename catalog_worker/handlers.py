"""What the catalogue service does."""

from typing import Protocol

from shared.contracts.catalog import (
    CategoryList,
    GetProduct,
    ListCategories,
    ListProducts,
    Product,
    ProductPage,
)
from shared.contracts.errors import ProductNotFound


class Catalog(Protocol):
    """Where products are found; raises ``UpstreamFailed`` or ``UpstreamBusy``."""

    async def list(self, request: ListProducts) -> ProductPage: ...
    async def find(self, product_id: int) -> Product | None: ...
    async def categories(self) -> CategoryList: ...


async def list_products(request: ListProducts, *, catalog: Catalog) -> ProductPage:
    return await catalog.list(request)


async def get_product(request: GetProduct, *, catalog: Catalog) -> Product:
    product = await catalog.find(request.product_id)
    if product is None:
        raise ProductNotFound(f"no product {request.product_id}")
    return product


async def list_categories(_: ListCategories, *, catalog: Catalog) -> CategoryList:
    return await catalog.categories()
