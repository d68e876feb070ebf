"""Who may send which events and jobs to be worked off: the same in memory and with RabbitMQ."""

from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

import pytest

from postroad.broker.interfaces import Outcome
from postroad.contracts.events import LoginFailed, ProductAdded, SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.limits import RETRY_DELAYS_S
from postroad.messaging.background_worker import ATTEMPT
from postroad.messaging.publishing import MessagePublisher, NotPublished
from postroad.security.lasting_signatures import LastingSigner
from postroad.testing import eventually, working
from postroad.topology.definitions import definitions
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    wait_key,
    work_queue,
)
from postroad.topology.services import Services
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import publish, publishing, waiting_in
from tests.support.working import (
    BODY,
    DEAD_QUEUE,
    JOB,
    QUEUE,
    WAIT_TTLS_MS,
    Keys,
    failing,
    give,
)

LAST_ATTEMPT = len(RETRY_DELAYS_S) + 1


@pytest.fixture
async def broker(open_broker: OpenBroker, services: Services) -> BrokerUnderTest:
    """A broker in which failed work does not wait for long."""
    return await open_broker(definitions(services, wait_ttls_ms=WAIT_TTLS_MS))


async def test_a_job_without_a_queue_is_not_published(
    open_broker: OpenBroker, services: Services, keys: Keys
) -> None:
    topology = definitions(services)
    topology["bindings"] = [
        each for each in topology["bindings"] if each["source"] != WORK_EXCHANGE
    ]
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
    exchange: str = WORK_EXCHANGE
    routing_key: str = FetchPage.name
    signed_at: float | None = None
    signed_by: str = "catalog"
    user_id: str | None = "catalog"
    type: str = FetchPage.name
    more_headers: dict[str, Any] = field(default_factory=dict)
    is_signed: bool = True
    more_body: bytes = b""

    async def send(self, broker: BrokerUnderTest, keys: Keys) -> None:
        clock = time if self.signed_at is None else lambda: self.signed_at or 0.0
        signer = LastingSigner(keys[self.signed_by], clock=clock)
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
            type=self.type,
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
        (Letter(kind="event", type=SyncRequested.name), "wrong_type"),
        (Letter(signed_by="bridge"), "caller_not_allowed"),
        (Letter(more_headers={"CC": [FetchPage.name]}), "carbon_copy"),
        (Letter(signed_at=1.0), "expired"),
    ],
)
async def test_a_dishonest_message_is_refused(
    broker: BrokerUnderTest, keys: Keys, letter: Letter, reason: str
) -> None:
    async with working(broker, keys["catalog"], "sync", {FetchPage: print}) as worker:
        await letter.send(broker, keys)
        await waiting_in(broker, DEAD_QUEUE)

    assert set(worker.counts) == {f"refused.{reason}"}


async def test_what_nobody_here_works_on_is_refused(broker: BrokerUnderTest, keys: Keys) -> None:
    stray = Letter(
        kind="event",
        name=ProductAdded.name,
        type=ProductAdded.name,
        exchange=EVENTS_EXCHANGE,
        routing_key=SyncRequested.name,
    )
    async with working(broker, keys["catalog"], "sync", {FetchPage: print}) as worker:
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
    signature = LastingSigner(keys["auth"]).event(
        name=event.name, body=body, message_id="m", correlation_id="c"
    )
    done: list[Any] = []
    async with working(broker, keys["catalog"], "sync", {LoginFailed: failing(1, done)}):
        await publish(
            broker,
            "auth",
            EVENTS_EXCHANGE,
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
        ("bridge", WORK_EXCHANGE, FetchPage.name),
        ("auth", WORK_EXCHANGE, FetchPage.name),
        ("bridge", WAIT_EXCHANGE, wait_key(1, QUEUE)),
        ("auth", WAIT_EXCHANGE, wait_key(1, QUEUE)),
        ("catalog", WAIT_EXCHANGE, wait_key(1, work_queue("auth", "audit"))),
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
