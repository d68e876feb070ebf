"""Events and jobs worked off in the background: the same in memory and with RabbitMQ."""

import asyncio
from typing import Any

import pytest
import structlog

from postroad.context import current_context
from postroad.contracts.base import Job
from postroad.contracts.catalog import ListProducts
from postroad.contracts.errors import ProductNotFound, UpstreamFailed
from postroad.contracts.events import LoginFailed, SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.limits import RETRY_DELAYS_S
from postroad.messaging.background_worker import ATTEMPT, BackgroundHandlers
from postroad.runtime.metrics import background_metrics
from postroad.security.lasting_signatures import LastingSigner
from postroad.testing import eventually, working
from postroad.topology.definitions import DELIVERY_LIMIT, definitions
from postroad.topology.names import (
    RPC_EXCHANGE,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    dead_queue,
    rpc_queue,
    wait_queue,
)
from postroad.topology.services import Services
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.scraping import Scrape
from tests.support.tracing import PLACE, with_trace, within
from tests.support.traffic import consuming, publish, waiting_in
from tests.support.working import (
    BODY,
    DEAD_QUEUE,
    JOB,
    QUEUE,
    REQUESTED,
    WAIT_TTLS_MS,
    Keys,
    failing,
    give,
)

LAST_ATTEMPT = len(RETRY_DELAYS_S) + 1

HOUR_MS = 3_600_000


@pytest.fixture
async def broker(open_broker: OpenBroker, services: Services) -> BrokerUnderTest:
    """A broker in which failed work does not wait for long."""
    return await open_broker(definitions(services, wait_ttls_ms=WAIT_TTLS_MS))


async def test_a_job_is_done_once_and_gone(broker: BrokerUnderTest, keys: Keys) -> None:
    done: list[Any] = []
    async with working(broker, keys["catalog"], "sync", {FetchPage: done.append}):
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: done == [JOB])

    assert await broker.depth(QUEUE) == 0
    assert await broker.depth(DEAD_QUEUE) == 0


async def test_work_waits_until_somebody_comes_for_it(broker: BrokerUnderTest, keys: Keys) -> None:
    done: list[Any] = []
    await give(broker, keys["catalog"], JOB)
    await give(broker, keys["catalog"], REQUESTED)

    async with working(
        broker, keys["catalog"], "sync", {FetchPage: done.append, SyncRequested: done.append}
    ):
        await eventually(lambda: len(done) == 2)

    assert set(done) == {JOB, REQUESTED}


async def test_a_handler_knows_the_message_and_its_time(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    calls = []

    async def handle(_: FetchPage) -> None:
        calls.append(current_context.get())

    async with working(broker, keys["catalog"], "sync", {FetchPage: handle}):
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
        ids.append(current_context.get().message_id)
        if len(ids) < LAST_ATTEMPT:
            raise UpstreamFailed

    async with working(broker, keys["catalog"], "sync", {FetchPage: handle}) as worker:
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

    async with working(broker, keys["catalog"], "sync", {FetchPage: handle}):
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
    async with working(broker, keys["catalog"], "sync", handlers, prefetch=1):
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
    async with working(broker, keys["catalog"], "sync", {LoginFailed: failing(2, done)}):
        await give(broker, keys["auth"], event)
        await eventually(lambda: done == [event])


async def test_a_body_that_breaks_its_contract_is_not_tried_again(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    signature = LastingSigner(keys["catalog"]).job(
        audience="catalog",
        name=FetchPage.name,
        body=b'{"sync_id": 1}',
        message_id="m",
        correlation_id="c",
    )
    async with working(broker, keys["catalog"], "sync", {FetchPage: print}) as worker:
        await publish(
            broker,
            "catalog",
            WORK_EXCHANGE,
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

    async with working(broker, keys["catalog"], "sync", {FetchPage: hold}) as dying:
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: held)
        dying._core.consumer._is_stopping = True  # type: ignore[attr-defined]  # it does not come back
        broker.cut("catalog")
        async with working(broker, keys["catalog"], "sync", {FetchPage: done.append}):
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


async def test_a_request_that_kills_its_workers_is_let_go_in_a_cluster(
    open_broker: OpenBroker, services: Services
) -> None:
    topology = definitions(services, rpc_queue_type="quorum")
    (policy,) = (each for each in topology["policies"] if each["name"] == "rpc.quorum")
    assert policy["definition"]["delivery-limit"] == DELIVERY_LIMIT  # a long time to wait for
    policy["definition"]["delivery-limit"] = 2
    broker = await open_broker(topology)
    queue = rpc_queue("catalog")
    for body in (b"deadly", b"harmless"):
        await publish(broker, "bridge", RPC_EXCHANGE, ListProducts.method, body)

    async with consuming(broker, "catalog", queue, prefetch=1) as inbox:
        for _ in range(3):
            assert (await inbox.next()).body == b"deadly"
            broker.cut("catalog")
        last = await inbox.next()

    assert last.body == b"harmless"
    assert await broker.depth(dead_queue(queue)) == 0


async def test_a_worker_that_cannot_put_work_aside_holds_on_to_it(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    topology = definitions(services)
    topology["bindings"] = [
        each for each in topology["bindings"] if each["source"] != WAIT_EXCHANGE
    ]
    broker = await open_broker(topology)
    async with working(broker, keys["catalog"], "sync", {FetchPage: failing(1, [])}) as worker:
        await give(broker, keys["catalog"], JOB)
        await eventually(lambda: worker.counts["not_put_aside"])

    assert worker.counts["upstream_failed"] == 0
    assert [seen.body for seen in await waiting_in(broker, QUEUE)] == [BODY]


async def test_attempts_and_what_became_of_them_are_counted(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    def fail(_: SyncRequested) -> None:
        raise RuntimeError("a bug")

    done: list[Any] = []
    handlers: BackgroundHandlers = {FetchPage: failing(2, done), SyncRequested: fail}
    async with working(broker, keys["catalog"], "sync", handlers) as worker:
        await give(broker, keys["catalog"], JOB)
        await give(broker, keys["catalog"], REQUESTED)
        await publish(broker, "catalog", WORK_EXCHANGE, JOB.name, b"{}", user_id="catalog")
        await eventually(lambda: done and worker.counts["dead"])
        await eventually(lambda: worker.in_flight == 0)
        scraped = Scrape.of(background_metrics(worker))

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


async def test_each_attempt_has_its_own_trace_linked_to_its_cause(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    done: list[Any] = []
    with structlog.testing.capture_logs(processors=[with_trace]) as lines:
        async with working(
            broker, keys["catalog"], "sync", {FetchPage: failing(2, done)}
        ) as worker:
            with within(PLACE):
                await give(broker, keys["catalog"], JOB)
            await eventually(lambda: worker.counts["done"])

    works = [line for line in lines if line["event"] == "work"]
    assert [line["attempt"] for line in works] == [1, 2, 3]
    assert {line["cause_trace_id"] for line in works} == {PLACE.trace_id}
    assert len({line["trace_id"] for line in works} | {PLACE.trace_id}) == 4


class PrintLabel(
    Job, name="catalog.pages.fetch", retry_delays_s=(10,), not_retried=(ProductNotFound,)
):
    """A job with its own delays, under a name that the catalogue may enqueue."""

    sync_id: str


async def test_a_job_is_tried_again_as_its_contract_says(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    tried: list[int] = []

    def handle(_: PrintLabel) -> None:
        tried.append(1)
        raise UpstreamFailed

    async with working(broker, keys["catalog"], "sync", {PrintLabel: handle}):
        await give(broker, keys["catalog"], PrintLabel(sync_id="s"))
        await waiting_in(broker, DEAD_QUEUE)

    assert len(tried) == 2


async def test_a_job_waits_in_the_queue_of_its_delay(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    broker = await open_broker(definitions(services, wait_ttls_ms=[HOUR_MS] * 4))
    async with working(broker, keys["catalog"], "sync", {PrintLabel: failing(1, [])}):
        await give(broker, keys["catalog"], PrintLabel(sync_id="s"))
        (waiting,) = await waiting_in(broker, wait_queue(2))

    assert waiting.headers[ATTEMPT] == 2


async def test_an_error_that_is_not_retried_is_a_dead_letter_at_once(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    tried: list[int] = []

    def handle(_: PrintLabel) -> None:
        tried.append(1)
        raise ProductNotFound

    async with working(broker, keys["catalog"], "sync", {PrintLabel: handle}):
        await give(broker, keys["catalog"], PrintLabel(sync_id="s"))
        await waiting_in(broker, DEAD_QUEUE)

    assert len(tried) == 1
