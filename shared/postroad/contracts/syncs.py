"""What the catalogue service answers and does about syncs: copies of upstream in its store."""

from typing import Literal

from pydantic import Field

from postroad.contracts.base import Job, Message, Request
from postroad.contracts.errors import SyncNotFound, Unavailable

SyncStatus = Literal["requested", "running", "done", "incomplete", "failed"]


class Sync(Message):
    """How far a sync is: a copy of all products from upstream into the service's own store.

    ``incomplete``: upstream did not list as many products as it said it has, or none that can be
    read, so none was taken for removed.
    ``failed``: it made no progress for too long. ``pages`` is null until it has been split.
    Times are seconds since 1970.
    """

    sync_id: str
    status: SyncStatus
    requested_at: float
    finished_at: float | None
    pages: int | None
    pages_done: int
    products: int  # that upstream has listed so far
    added: int
    price_changed: int
    removed: int
    dropped: int = 0  # that upstream lists and nobody can read; what is stored of them stays
    first_dropped: str | None = None  # one of them, and why


class StartSync(
    Request[Sync],
    method="catalog.syncs.start",
    scope="catalog:sync",
    errors=(Unavailable,),
):
    """Bring the stored catalogue up to date, in the background.

    While one is under way it is that one's ``Sync`` that comes back, so a second delivery does
    nothing.
    """


class GetSync(
    Request[Sync],
    method="catalog.syncs.get",
    scope="catalog:sync",
    errors=(SyncNotFound, Unavailable),
):
    """How far a sync is."""

    sync_id: str = Field(min_length=1, max_length=64)


class FetchPage(Job, name="catalog.pages.fetch", timeout_s=30.0):
    """Fetch one page of upstream's listing and store it, as part of a sync."""

    sync_id: str
    skip: int = Field(ge=0)
    limit: int = Field(ge=1, le=1000)
