"""What is in the outbox is sent: in order, at least once each, whatever fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from auth_worker.tables import outbox
from postroad.contracts.errors import Unavailable
from postroad.contracts.events import SessionRevoked
from postroad.contracts.syncs import FetchPage
from postroad.messaging.publishing import Kind
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox, OutboxReader, StoredMessage
from postroad.storage.relay import Relay, relay_of
from postroad.testing import eventually
from tests.integration.auth.outboxes import reader, write
from tests.support.auth import AuthUnderTest, rows

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Sent:
    """What is to be published."""

    kind: Kind
    name: str
    body: bytes
    message_id: str


@dataclass
class FakeBroker:
    """Takes events in; ``refuses`` decides what is not confirmed."""

    refuses: Callable[[str], bool] = lambda _: False
    got: list[str] = field(default_factory=list)
    tried: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(
        self,
        kind: Kind,
        name: str,
        body: bytes,
        *,
        message_id: str,
        correlation_id: str,
        trace: object = None,
    ) -> None:
        await self.take(Sent(kind, name, body, message_id))

    async def take(self, sent: Sent) -> None:
        await asyncio.sleep(0)
        self.tried += 1
        self.changed.set()
        if self.refuses(sent.message_id):
            raise ConnectionError("the broker is away")
        self.got.append(sent.message_id)


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], changed: asyncio.Event) -> None:
    """Wait for a condition that may hold once ``changed`` is set."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            changed.clear()
            await changed.wait()


async def until_empty(database: Database) -> None:
    async def is_empty() -> bool:
        return not await asyncio.to_thread(rows, database, outbox)

    await eventually(is_empty, timeout_s=TIMEOUT_S)


async def test_events_are_sent_in_order_and_then_deleted(database: Database) -> None:
    ids = write(database, 25)
    broker = FakeBroker()

    async with running(Relay(reader(database), broker, batch=10)):
        await until_empty(database)

    assert broker.got == ids


async def test_what_is_sent_is_what_was_written(database: Database) -> None:
    [event_id] = write(database, 1)
    taken: list[Sent] = []

    class Broker(FakeBroker):
        async def take(self, sent: Sent) -> None:
            taken.append(sent)

    async with running(Relay(reader(database), Broker())):
        await until_empty(database)

    [sent] = taken
    assert (sent.name, sent.message_id) == ("auth.session.revoked", event_id)
    written = SessionRevoked.model_validate_json(sent.body)
    assert written == SessionRevoked(session_id="0", user_id=1, until=2.5)


async def test_every_event_arrives_though_the_broker_fails_now_and_then(
    database: Database,
) -> None:
    ids = write(database, 30)
    broker = FakeBroker()
    broker.refuses = lambda _: broker.tried % 7 == 0

    async with running(Relay(reader(database), broker, batch=8, poll_s=0.01)):
        await until_empty(database)

    assert broker.tried > 30
    assert sorted(broker.got) == sorted(ids)  # and none was sent again that had been confirmed


async def test_what_follows_a_refused_message_is_sent_and_it_comes_behind(
    database: Database,
) -> None:
    ids = write(database, 5)
    broker = FakeBroker()
    broker.refuses = lambda message_id: message_id == ids[1] and broker.tried <= 5

    async with running(Relay(reader(database), broker)):
        await until_empty(database)

    assert broker.got == [ids[0], *ids[2:], ids[1]]


async def test_a_batch_is_published_without_waiting_for_each_confirm(database: Database) -> None:
    ids = write(database, 10)

    class Lazy(FakeBroker):
        """Confirms nothing before it has all."""

        async def take(self, sent: Sent) -> None:
            self.got.append(sent.message_id)
            if len(self.got) == len(ids):
                self.changed.set()
            await self.changed.wait()

    broker = Lazy()
    async with running(Relay(reader(database), broker)):
        await until_empty(database)

    assert broker.got == ids


async def test_events_and_jobs_are_told_apart(database: Database) -> None:
    taken: list[tuple[Kind, str]] = []

    class Broker(FakeBroker):
        async def take(self, sent: Sent) -> None:
            taken.append((sent.kind, sent.name))

    with database.writing() as transaction:
        Outbox(outbox).add(transaction, FetchPage(sync_id="a", skip=0, limit=1))
        Outbox(outbox).add(transaction, SessionRevoked(session_id="b", user_id=1, until=2.5))
    async with running(Relay(reader(database), Broker())):
        await until_empty(database)

    assert taken == [("job", "catalog.pages.fetch"), ("event", "auth.session.revoked")]


async def test_an_event_the_broker_took_but_did_not_confirm_is_sent_again(
    database: Database,
) -> None:
    ids = write(database, 1)

    class Forgetful(FakeBroker):
        async def take(self, sent: Sent) -> None:
            self.got.append(sent.message_id)
            if len(self.got) == 1:
                raise ConnectionError("gone before the confirm")

    broker = Forgetful()
    async with running(Relay(reader(database), broker)):
        await until_empty(database)

    assert broker.got == ids * 2


async def test_while_the_broker_is_away_the_pauses_grow(database: Database) -> None:
    write(database, 1)
    tries: list[float] = []

    class Away(FakeBroker):
        async def take(self, sent: Sent) -> None:
            tries.append(monotonic())
            self.changed.set()
            raise ConnectionError

    broker = Away()
    async with running(Relay(reader(database), broker, poll_s=0.001)):
        await until(lambda: len(tries) == 4, broker.changed)

    assert tries[3] - tries[0] >= 0.1 + 0.2 + 0.4  # half of the longest of each pause
    assert len(rows(database, outbox)) == 1


async def test_an_event_written_here_is_sent_at_once(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    broker = FakeBroker()
    settings = auth.settings.model_copy(update={"outbox_poll_s": 3600.0})
    relay = relay_of(auth.service.outbox, broker, database=auth.database, settings=settings)

    async with running(relay):
        await asyncio.to_thread(auth.sign_in, "reader")
        await until(lambda: len(broker.got) == 1, broker.changed)
        await asyncio.to_thread(auth.sign_in, "reader")
        await until(lambda: len(broker.got) == 2, broker.changed)


async def test_an_event_another_process_left_is_found_by_looking(database: Database) -> None:
    broker = FakeBroker()

    async with running(Relay(reader(database), broker, poll_s=0.02)):
        await asyncio.to_thread(write, database, 1)
        await until(lambda: len(broker.got) == 1, broker.changed)


async def test_several_relays_send_each_event_once(database: Database) -> None:
    ids = write(database, 60)
    broker = FakeBroker()
    relays = [Relay(reader(database), broker, batch=5, poll_s=0.01) for _ in range(4)]

    async with running(*relays):
        await until_empty(database)

    assert sorted(broker.got) == sorted(ids)


async def test_the_relay_goes_on_after_the_database_failed(database: Database) -> None:
    ids = write(database, 1)
    failures = [Unavailable(), RuntimeError("not even foreseen")]

    class Flaky(OutboxReader):
        def claim(self, limit: int) -> list[StoredMessage]:
            if failures:
                raise failures.pop()
            return super().claim(limit)

    broker = FakeBroker()
    async with running(Relay(Flaky(database, outbox, lease_s=30), broker)):
        await until_empty(database)

    assert failures == []
    assert broker.got == ids


async def test_a_relay_that_is_stopped_gives_back_what_it_had_taken(database: Database) -> None:
    ids = write(database, 3)
    stuck = asyncio.Event()

    class Stuck(FakeBroker):
        async def take(self, sent: Sent) -> None:
            if self.got:
                stuck.set()
                await asyncio.Event().wait()
            self.got.append(sent.message_id)

    async with running(Relay(reader(database), Stuck())):
        await asyncio.wait_for(stuck.wait(), TIMEOUT_S)

    assert [event.message_id for event in reader(database).claim(10)] == ids[1:]


async def test_a_relay_that_is_stopped_while_it_takes_events_gives_them_back(
    database: Database,
) -> None:
    ids = write(database, 3)
    has_claimed, may_go_on = threading.Event(), threading.Event()

    class Slow(OutboxReader):
        def claim(self, limit: int) -> list[StoredMessage]:
            events = super().claim(limit)
            has_claimed.set()
            may_go_on.wait(TIMEOUT_S)
            return events

    relay = asyncio.create_task(Relay(Slow(database, outbox, lease_s=30), FakeBroker()).run())
    await asyncio.to_thread(has_claimed.wait, TIMEOUT_S)
    relay.cancel()
    asyncio.get_running_loop().call_soon(may_go_on.set)
    await asyncio.gather(relay, return_exceptions=True)

    assert [event.message_id for event in reader(database).claim(10)] == ids


async def test_a_publisher_that_never_answers_does_not_keep_events_for_ever(
    database: Database,
) -> None:
    ids = write(database, 1)

    class Hanging(FakeBroker):
        async def take(self, sent: Sent) -> None:
            self.tried += 1
            if self.tried == 1:
                await asyncio.Event().wait()
            self.got.append(sent.message_id)

    broker = Hanging()
    async with running(Relay(reader(database), broker, batch_timeout_s=0.05)):
        await until_empty(database)

    assert set(broker.got) == set(ids)  # on a busy machine it may be sent twice
