"""Events and jobs worked off in the background: the same in memory and with RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

import pytest

from shared.contracts.base import Event, Job
from shared.contracts.catalog import FetchPage
from shared.contracts.errors import UpstreamFailed
from shared.contracts.events import LoginFailed, ProductAdded, SyncRequested
from shared.messaging.background import (
    ATTEMPT,
    LAST_ATTEMPT,
    BackgroundHandlers,
    BackgroundWorker,
)
from shared.messaging.broker import Outcome, State
from shared.messaging.call import current_call
from shared.messaging.envelope import Signer
from shared.messaging.ids import new_id
from shared.messaging.keyring import KeyRing
from shared.messaging.names import EVENTS, WAIT, WORK, dead_queue, wait_key, wait_queue, work_queue
from shared.messaging.posting import MessagePublisher, NotPublished
from shared.messaging.services import Services
from shared.messaging.topology import DELIVERY_LIMIT, definitions
from shared.metrics.messaging import background_measures
from tests.brokers import BrokerUnderTest
from tests.conftest import OpenBroker
from tests.scraping import Scrape
from tests.traffic import consuming, publish, publishing, waiting_in
from tests.waiting import eventually

Keys = dict[str, KeyRing]

QUEUE = work_queue("catalog", "sync")
DEAD_QUEUE = dead_queue(QUEUE)
JOB = FetchPage(sync_id="s", skip=0, limit=10)
REQUESTED = SyncRequested(sync_id="s")
BODY = JOB.model_dump_json().encode()
WAIT_TTLS_MS = (20, 40, 80, 160)
HOUR_MS = 3_600_000


@pytest.fixture
async def broker(open_broker: OpenBroker, services: Services) -> BrokerUnderTest:
    """A broker in which failed work does not wait for long."""
    return await open_broker(definitions(services, wait_ttls_ms=WAIT_TTLS_MS))


@asynccontextmanager
async def working(
    broker: BrokerUnderTest, keys: KeyRing, handlers: BackgroundHandlers, *, prefetch: int = 4
) -> AsyncIterator[BackgroundWorker]:
    """Work the catalogue's sync queue off."""
    user = await broker.as_user(keys.service)
    publisher = user.publisher()
    worker = BackgroundWorker(
        "sync", handlers, broker=user, publisher=publisher, keys=keys, prefetch=prefetch
    )
    await publisher.start()
    await worker.start()
    await eventually(lambda: worker._consumer.state is publisher.state is State.OPEN)
    yield worker
    await worker.drain(2.0)
    await publisher.close()


async def give(broker: BrokerUnderTest, keys: KeyRing, message: Job | Event) -> str:
    """Publish a job or an event as its sender does, and give its id."""
    message_id = new_id()
    async with publishing(broker, keys.service) as publisher:
        await MessagePublisher(publisher, keys).publish(
            "job" if isinstance(message, Job) else "event",
            message.name,
            message.model_dump_json().encode(),
            message_id=message_id,
            correlation_id="request-1",
        )
    return message_id


def failing(times: int, done: list[Any]) -> Callable[[Any], None]:
    """Make a handler that fails that often, and then succeeds."""
    failures = iter(range(times))

    def handle(message: Any) -> None:
        if next(failures, None) is not None:
            raise UpstreamFailed
        done.append(message)

    return handle


async def test_a_job_is_done_once_and_gone(broker: BrokerUnderTest, keys: Keys) -> None:
    done: list[Any] = []
    async with working(broker, keys["catalog"], {FetchPage: done.append}):
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: done == [JOB])

    assert await broker.depth(QUEUE) == 0
    assert await broker.depth(DEAD_QUEUE) == 0


async def test_work_waits_until_somebody_comes_for_it(broker: BrokerUnderTest, keys: Keys) -> None:
    done: list[Any] = []
    await give(broker, keys["catalog"], JOB)
    await give(broker, keys["catalog"], REQUESTED)

    async with working(
        broker, keys["catalog"], {FetchPage: done.append, SyncRequested: done.append}
    ):
        await eventually(lambda: len(done) == 2)

    assert set(done) == {JOB, REQUESTED}


async def test_a_handler_knows_the_message_and_its_time(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    calls = []

    async def handle(_: FetchPage) -> None:
        calls.append(current_call.get())

    async with working(broker, keys["catalog"], {FetchPage: handle}):
        message_id = await give(broker, keys["catalog"], JOB)
        await eventually(lambda: calls)

    (call,) = calls
    assert (call.caller, call.message_id, call.correlation_id) == (
        "catalog",
        message_id,
        "request-1",
    )
    assert 0 < call.time_left_s() <= FetchPage.timeout_s
    await eventually(lambda: call.is_over)


async def test_what_fails_is_tried_again_under_the_same_id(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    ids: list[str] = []

    def handle(_: FetchPage) -> None:
        ids.append(current_call.get().message_id)
        if len(ids) < LAST_ATTEMPT:
            raise UpstreamFailed

    async with working(broker, keys["catalog"], {FetchPage: handle}) as worker:
        message_id = await give(broker, keys["catalog"], JOB)
        await eventually(lambda: worker.counts["ok"] == 1)

    assert ids == [message_id] * LAST_ATTEMPT
    assert await broker.depth(DEAD_QUEUE) == 0


async def test_after_its_last_attempt_it_is_a_dead_letter(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    tried: list[Any] = []

    def handle(job: FetchPage) -> None:
        tried.append(job)
        raise RuntimeError("a bug")

    async with working(broker, keys["catalog"], {FetchPage: handle}):
        await give(broker, keys["catalog"], JOB)
        (dead,) = await waiting_in(broker, DEAD_QUEUE)

    assert dead.body == BODY
    assert len(tried) == LAST_ATTEMPT
    assert await broker.depth(QUEUE) == 0


async def test_while_one_waits_others_are_done(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    broker = await open_broker(definitions(services, wait_ttls_ms=[HOUR_MS] * 4))
    done: list[Any] = []
    handlers: BackgroundHandlers = {
        SyncRequested: failing(1, done),
        FetchPage: done.append,
    }
    async with working(broker, keys["catalog"], handlers, prefetch=1):
        await give(broker, keys["catalog"], REQUESTED)
        await give(broker, keys["catalog"], JOB)

        await eventually(lambda: done == [JOB])
        (waiting,) = await waiting_in(broker, wait_queue(1))

    assert waiting.headers[ATTEMPT] == 2


async def test_an_event_of_another_service_can_be_tried_again(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    # the second attempt comes from us, with the first one's signature
    audit = services.root["catalog"].model_copy(update={"works": {"sync": ("auth.login.*",)}})
    broker = await open_broker(
        definitions(Services(services.root | {"catalog": audit}), wait_ttls_ms=WAIT_TTLS_MS)
    )
    event = LoginFailed(user_id=None, reason="unknown_user", at=0.0, client_network=None)
    done: list[Any] = []
    async with working(broker, keys["catalog"], {LoginFailed: failing(2, done)}):
        await give(broker, keys["auth"], event)
        await eventually(lambda: done == [event])


async def test_a_body_that_breaks_its_contract_is_not_tried_again(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    signature = Signer(keys["catalog"]).job(
        audience="catalog",
        name=FetchPage.name,
        body=b'{"sync_id": 1}',
        message_id="m",
        correlation_id="c",
    )
    async with working(broker, keys["catalog"], {FetchPage: print}) as worker:
        await publish(
            broker,
            "catalog",
            WORK,
            FetchPage.name,
            b'{"sync_id": 1}',
            headers={"signature": signature},
            message_id="m",
            type=FetchPage.name,
            user_id="catalog",
        )
        await waiting_in(broker, DEAD_QUEUE)

    assert worker.counts == {"invalid_request": 1, "dead": 1}


async def test_what_a_worker_holds_when_it_dies_comes_again(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    held: list[Any] = []
    done: list[Any] = []
    stuck = asyncio.Event()

    async def hold(job: FetchPage) -> None:
        held.append(job)
        await stuck.wait()

    async with working(broker, keys["catalog"], {FetchPage: hold}) as dying:
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: held)
        dying._consumer._is_stopping = True  # type: ignore[attr-defined]  # it does not come back
        broker.cut("catalog")
        async with working(broker, keys["catalog"], {FetchPage: done.append}):
            await eventually(lambda: done == [JOB])
        stuck.set()


async def test_what_kills_its_workers_ends_as_a_dead_letter(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    topology = definitions(services)
    (policy,) = (each for each in topology["policies"] if each["name"] == QUEUE)
    assert policy["definition"]["delivery-limit"] == DELIVERY_LIMIT  # a long time to wait for
    policy["definition"]["delivery-limit"] = 2
    broker = await open_broker(topology)
    await give(broker, keys["catalog"], JOB)

    async with consuming(broker, "catalog", QUEUE) as inbox:
        for _ in range(3):
            await inbox.next()
            broker.cut("catalog")
        (dead,) = await waiting_in(broker, DEAD_QUEUE)

    assert dead.body == BODY


async def test_a_worker_that_cannot_put_work_aside_holds_on_to_it(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    topology = definitions(services)
    topology["bindings"] = [each for each in topology["bindings"] if each["source"] != WAIT]
    broker = await open_broker(topology)
    async with working(broker, keys["catalog"], {FetchPage: failing(1, [])}) as worker:
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: worker.counts["not_put_aside"])

    assert worker.counts["upstream_failed"] == 0
    assert [seen.body for seen in await waiting_in(broker, QUEUE)] == [BODY]


# who may send what


async def test_a_job_without_a_queue_is_not_published(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    topology = definitions(services)
    topology["bindings"] = [each for each in topology["bindings"] if each["source"] != WORK]
    broker = await open_broker(topology)

    with pytest.raises(NotPublished, match="returned"):
        await give(broker, keys["catalog"], JOB)


async def test_a_job_that_was_not_granted_is_not_published(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with publishing(broker, "catalog") as publisher:
        with pytest.raises(NotPublished, match="lost"):
            await MessagePublisher(publisher, keys["catalog"]).publish(
                "job", "catalog.pages.burn", b"{}", message_id="m", correlation_id="c"
            )


@dataclass
class Letter:
    """A job as its sender makes it; a test changes what it is about."""

    kind: Literal["job", "event"] = "job"
    name: str = FetchPage.name
    audience: str = "catalog"
    exchange: str = WORK
    routing_key: str = FetchPage.name
    signed_at: float | None = None
    signed_by: str = "catalog"
    user_id: str | None = "catalog"
    more_headers: dict[str, Any] = field(default_factory=dict)
    is_signed: bool = True
    more_body: bytes = b""

    async def send(self, broker: BrokerUnderTest, keys: Keys) -> None:
        clock = time if self.signed_at is None else lambda: self.signed_at or 0.0
        signer = Signer(keys[self.signed_by], clock=clock)
        common = {"name": self.name, "message_id": "m", "correlation_id": "c"}
        signature = (
            signer.job(audience=self.audience, body=BODY, **common)
            if self.kind == "job"
            else signer.event(body=BODY, **common)
        )
        headers = {"signature": signature} if self.is_signed else {}
        await publish(
            broker,
            "catalog",
            self.exchange,
            self.routing_key,
            BODY + self.more_body,
            headers=headers | self.more_headers,
            message_id="m",
            type=self.name,
            user_id=self.user_id,
        )


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        (Letter(is_signed=False), "unsigned"),
        (Letter(more_body=b" "), "bad_signature"),
        (Letter(audience="auth"), "wrong_audience"),
        (Letter(user_id=None), "sender_mismatch"),
        (Letter(kind="event"), "wrong_type"),
        (Letter(signed_by="bridge"), "caller_not_allowed"),
        (Letter(more_headers={"CC": [FetchPage.name]}), "carbon_copy"),
        (Letter(signed_at=1.0), "expired"),
    ],
)
async def test_a_dishonest_message_is_refused(
    broker: BrokerUnderTest, keys: Keys, letter: Letter, reason: str
) -> None:
    async with working(broker, keys["catalog"], {FetchPage: print}) as worker:
        await letter.send(broker, keys)
        await waiting_in(broker, DEAD_QUEUE)

    assert set(worker.counts) == {f"refused.{reason}"}


async def test_what_nobody_here_works_on_is_refused(broker: BrokerUnderTest, keys: Keys) -> None:
    stray = Letter(
        kind="event", name=ProductAdded.name, exchange=EVENTS, routing_key=SyncRequested.name
    )
    async with working(broker, keys["catalog"], {FetchPage: print}) as worker:
        await stray.send(broker, keys)
        await waiting_in(broker, DEAD_QUEUE)

    assert worker.counts == {"refused.wrong_type": 1}


async def test_an_attempt_noted_by_a_stranger_does_not_count(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    # else whoever may publish an event could have it given up at its first failure
    taking = services.root["catalog"].model_copy(update={"works": {"sync": ("auth.login.*",)}})
    broker = await open_broker(
        definitions(Services(services.root | {"catalog": taking}), wait_ttls_ms=WAIT_TTLS_MS)
    )
    event = LoginFailed(user_id=None, reason="unknown_user", at=0.0, client_network=None)
    body = event.model_dump_json().encode()
    signature = Signer(keys["auth"]).event(
        name=event.name, body=body, message_id="m", correlation_id="c"
    )
    done: list[Any] = []
    async with working(broker, keys["catalog"], {LoginFailed: failing(1, done)}):
        await publish(
            broker,
            "auth",
            EVENTS,
            event.name,
            body,
            headers={"signature": signature, ATTEMPT: LAST_ATTEMPT},
            message_id="m",
            type=event.name,
            user_id="auth",
        )
        await eventually(lambda: done == [event])


@pytest.mark.parametrize(
    ("user", "exchange", "routing_key"),
    [
        ("bridge", WORK, FetchPage.name),
        ("auth", WORK, FetchPage.name),
        ("bridge", WAIT, wait_key(1, QUEUE)),
        ("auth", WAIT, wait_key(1, QUEUE)),
        ("catalog", WAIT, wait_key(1, work_queue("auth", "audit"))),
        ("catalog", "retry", wait_key(1, QUEUE)),
        ("catalog", "dead.work", QUEUE),
    ],
)
async def test_nobody_puts_work_where_it_has_no_right_to(
    broker: BrokerUnderTest, user: str, exchange: str, routing_key: str
) -> None:
    outcome = await publish(broker, user, exchange, routing_key, b"x")

    assert outcome is Outcome.LOST
    assert await broker.depth(QUEUE) == 0


async def test_attempts_and_what_became_of_them_are_counted(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    def fail(_: SyncRequested) -> None:
        raise RuntimeError("a bug")

    done: list[Any] = []
    handlers: BackgroundHandlers = {FetchPage: failing(2, done), SyncRequested: fail}
    async with working(broker, keys["catalog"], handlers) as worker:
        await give(broker, keys["catalog"], JOB)
        await give(broker, keys["catalog"], REQUESTED)
        await publish(broker, "catalog", WORK, JOB.name, b"{}", user_id="catalog")
        await eventually(lambda: done and worker.counts["dead"])
        await eventually(lambda: worker.in_flight == 0)
        scraped = Scrape.of(background_measures(worker))

    attempts, settled = "postroad_work_attempts_total", "postroad_work_settled_total"
    assert scraped.value(attempts, name=JOB.name, code="upstream_failed") == 2
    assert scraped.value(attempts, name=JOB.name, code="ok") == 1
    assert scraped.value(settled, name=JOB.name, fate="put_aside") == 2
    assert scraped.value(settled, name=JOB.name, fate="done") == 1
    assert scraped.value(attempts, name=REQUESTED.name, code="internal") == LAST_ATTEMPT
    assert scraped.value(settled, name=REQUESTED.name, fate="dead") == 1
    assert scraped.value("postroad_work_queue_seconds_count", name=JOB.name) == 1
    assert scraped.value("postroad_work_attempt_duration_seconds_count", name=JOB.name) == 3
    assert scraped.value("postroad_work_refused_total", reason="unsigned") == 1
