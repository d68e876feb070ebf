"""The part of the catalogue service that keeps products, for the tests."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import time
from typing import Any

from pydantic import SecretStr

from catalog_worker.listing import Dropped, Listed
from catalog_worker.settings import StoreSettings
from catalog_worker.sync.syncs import Syncs
from catalog_worker.sync.wiring import build_handlers
from catalog_worker.tables import inbox, outbox, products, syncs
from postroad.context import RequestContext, current_context
from postroad.contracts.base import Event, Job
from postroad.contracts.catalog import Product
from postroad.contracts.registry import EVENTS, JOBS
from postroad.contracts.syncs import Sync
from postroad.runtime.serve import held_during_outage
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from postroad.storage.opening import OpenStore
from postroad.storage.outbox import Outbox, OutboxReader, StoredMessage
from tests.support.auth import Clock, rows


def make_product(number: int, **changed: Any) -> Product:
    values: dict[str, Any] = {
        "id": number,
        "title": f"Product {number}",
        "price": number + 0.25,
        "description": "Useful.",
        "category": "things",
    }
    return Product(**(values | changed))


def make_products(count: int) -> list[Product]:
    return [make_product(number) for number in range(1, count + 1)]


def make_store_settings(**changed: Any) -> StoreSettings:
    values = {"database_url": SecretStr("sqlite:///unused"), "sync_page_size": 10}
    return StoreSettings.model_validate(values | changed)


@dataclass
class FakeListing:
    """Upstream's listing: what is in ``products``."""

    products: list[Product | Dropped] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def page(self, *, skip: int, limit: int) -> Listed:
        self.asked.append((skip, limit))
        shown = self.products[skip : skip + limit]
        return Listed(
            [each for each in shown if isinstance(each, Product)],
            len(self.products),
            [each for each in shown if isinstance(each, Dropped)],
        )


@dataclass
class CatalogUnderTest:
    """One replica of the service: its handlers of messages, without a broker in between."""

    database: Database
    settings: StoreSettings = field(default_factory=make_store_settings)
    listing: FakeListing = field(default_factory=FakeListing)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.syncs = Syncs(
            self.database,
            inbox=Inbox(inbox, clock=self.clock),
            outbox=Outbox(outbox),
            settings=self.settings,
            clock=self.clock,
        )
        self.handlers = held_during_outage(
            build_handlers(listing=self.listing, syncs=self.syncs),
            OpenStore(self.database, self.settings),
        )
        self.events: list[Event] = []
        self.jobs: deque[StoredMessage] = deque()

    def list_products(self, products: Iterable[Product | Dropped]) -> None:
        """Let these be what upstream lists from now on."""
        self.listing.products = list(products)

    def relay(self) -> None:
        """Take what is in the outbox: jobs and requests of a sync to do, other events to see."""
        reader = OutboxReader(self.database, outbox, lease_s=30)
        while messages := reader.claim(1000):
            for message in messages:
                if message.kind == "job" or message.name == "catalog.sync.requested":
                    self.jobs.append(message)
                else:
                    event = EVENTS[message.name]
                    self.events.append(event.model_validate_json(message.body))
            reader.settle([message.message_id for message in messages])

    def deliver(self, message: StoredMessage) -> None:
        """Hand a message on, as the background worker does."""
        contract: type[Event | Job] = (JOBS if message.kind == "job" else EVENTS)[message.name]
        call = RequestContext("catalog", message.message_id, message.correlation_id, time() + 30)
        token = current_context.set(call)
        try:
            self.handlers[contract](contract.model_validate_json(message.body))
        finally:
            current_context.reset(token)

    def work(self) -> None:
        """Do all there is to do."""
        self.relay()
        while self.jobs:
            self.deliver(self.jobs.popleft())
            self.relay()

    def start_and_split(self) -> list[StoredMessage]:
        """Start a sync, and give the jobs of its pages."""
        self.syncs.start()
        self.relay()
        self.deliver(self.jobs.popleft())
        self.relay()
        jobs, self.jobs = list(self.jobs), deque()
        return jobs

    def sync(self, products: Iterable[Product | Dropped] | None = None) -> Sync:
        """Run a whole sync; give what came of it, and the events in ``events``."""
        if products is not None:
            self.list_products(products)
        self.events.clear()
        started = self.syncs.start()
        self.work()
        return self.syncs.get(started.sync_id)


def finish_with(catalog: CatalogUnderTest, jobs: list[StoredMessage]) -> Sync:
    for job in jobs:
        catalog.deliver(job)
    catalog.relay()
    return catalog.syncs.get(rows(catalog.database, syncs)[-1].id)


def stored(catalog: CatalogUnderTest) -> dict[int, float]:
    """Return what is in the store: prices by id."""
    return {row.id: row.price for row in rows(catalog.database, products)}
