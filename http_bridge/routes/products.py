"""When there are no products at all."""

from postroad.contracts.catalog import ListProducts, ProductPage
from postroad.messaging.reply import Reply


def no_products(request: ListProducts, reply: Reply[ProductPage]) -> bool:
    """Whether the catalogue is empty; a page that begins with a product need not be parsed."""
    if request.q is not None or request.category is not None:
        return False
    return not reply.body.startswith(b'{"data":[{') and reply.parse().total == 0
