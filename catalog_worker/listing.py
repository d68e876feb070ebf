"""Upstream's listing, as it is read."""

from dataclasses import dataclass

from postroad.contracts.catalog import Product


@dataclass(frozen=True, slots=True)
class Dropped:
    """What upstream lists and cannot be read; ``reason`` names the fields."""

    id: int | None  # none where that cannot be read either
    reason: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of upstream's listing."""

    products: list[Product]
    total: int  # of the whole listing, as upstream says
    dropped: list[Dropped]
