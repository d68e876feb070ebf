"""A service of another team, `prices`, with a contract of its own; it runs in TypeScript."""

from typing import Any

from pydantic import Field

from postroad.asyncapi.document import build_document
from postroad.contracts.base import Message, Request
from postroad.topology.manifest import find_services
from postroad.topology.services import Services
from tests.conftest import ROOT


class Quote(Message):
    """What some pieces of a product cost."""

    product_id: int
    total: float


class QuotePrice(Request[Quote], method="prices.quotes.get", scope="catalog:read", timeout_s=4):
    """Ask what some pieces of a product cost."""

    product_id: int = Field(ge=1)
    pieces: int = Field(default=2, ge=1, le=100)


PRICES = """
[prices]
answers = true
calls = ["auth.revocations.list", "catalog.products.get"]
listens = ["auth.session.revoked"]
acts_for_users = true

[till]
calls = ["prices.*"]
acts_for_users = true

[shop]
calls = ["catalog.products.*"]
listens = ["auth.*"]
"""


def services() -> Services:
    return Services(find_services(ROOT).root | Services.parse(PRICES, [QuotePrice]).root)


def document() -> dict[str, Any]:
    """Describe the contracts of the service."""
    return build_document({QuotePrice.method: QuotePrice}, {}, {})
