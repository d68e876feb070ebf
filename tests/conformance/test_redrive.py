"""Dead letters put back to work by the operator: the same in memory and with RabbitMQ."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest
import structlog

from ops.services.operator import OPERATOR, operator_rights
from postroad.broker.interfaces import Outcome
from postroad.context import RequestContext, current_context
from postroad.contracts.errors import UpstreamFailed
from postroad.contracts.events import LoginFailed
from postroad.contracts.syncs import FetchPage
from postroad.dead_letters.captured import CapturedMessage, copy_of_letter
from postroad.dead_letters.redriver import NotMoved, Redriver
from postroad.messaging.background_worker import ATTEMPT, BackgroundHandlers
from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import read_signature
from postroad.testing import eventually, working
from postroad.topology.definitions import definitions
from postroad.topology.names import (
    QUARANTINE,
    RETRY_EXCHANGE,
    WORK_EXCHANGE,
    dead_queue,
    wait_key,
    work_queue,
)
from postroad.topology.services import Services, trust_bundle
from tests.conftest import OpenBroker
from tests.support.brokers import BrokerUnderTest, Seen
from tests.support.tracing import PLACE, within
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

EVENT = LoginFailed(user_id=None, reason="unknown_user", at=0.0, client_network=None)
BACK = wait_key(0, QUEUE)


@pytest.fixture(scope="module")
def everybody(services: Services) -> Services:
    """Our services, the operator, and a catalogue that also takes the events of others."""
    taken = (*services.root["catalog"].works["sync"], "auth.login.*")
    catalog = services.root["catalog"].model_copy(update={"works": {"sync": taken}})
    return Services(services.root | {"catalog": catalog, OPERATOR: operator_rights()})


@pytest.fixture(scope="module")
def keys(everybody: Services) -> Keys:
    identities = {name: Identity.create(name) for name in everybody.names}
    trust = TrustBundle.model_validate(trust_bundle(everybody, identities.values()))
    return {name: KeyRing(identity, trust) for name, identity in identities.items()}


@pytest.fixture
async def broker(open_broker: OpenBroker, everybody: Services) -> BrokerUnderTest:
    return await open_broker(definitions(everybody, wait_ttls_ms=WAIT_TTLS_MS))


def captured(seen: Seen) -> CapturedMessage:
    return CapturedMessage(seen.body, seen.properties, "", "", is_whole=True)


def claims_of(seen: Seen) -> Claims:
    return read_signature(seen.headers.get("signature")).claims


async def dead_letter(broker: BrokerUnderTest, keys: Keys, sender: str, message: Any) -> Seen:
    """Let a message die: its handler gives it up."""

    def give_up(_: Any) -> None:
        raise UpstreamFailed

    async with working(broker, keys["catalog"], "sync", {type(message): give_up}):
        await give(broker, keys[sender], message)
        (dead,) = await waiting_in(broker, DEAD_QUEUE)
    return dead


async def redrive(broker: BrokerUnderTest, keys: Keys, dead: Seen) -> None:
    async with publishing(broker, OPERATOR) as publisher:
        await Redriver(publisher, keys[OPERATOR]).redrive(
            captured(dead), claims_of(dead), QUEUE, "catalog"
        )


async def test_a_redriven_message_still_names_the_trace_that_caused_it(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    with within(PLACE):
        dead = await dead_letter(broker, keys, "catalog", JOB)
    with structlog.testing.capture_logs() as lines:
        async with working(broker, keys["catalog"], "sync", {type(JOB): lambda _: None}) as worker:
            await redrive(broker, keys, dead)
            await eventually(lambda: worker.counts["done"])

    (work,) = [line for line in lines if line["event"] == "work"]
    assert work["redrives"] == 1
    assert work["cause_trace_id"] == PLACE.trace_id


@pytest.mark.parametrize(("sender", "message"), [("catalog", JOB), ("auth", EVENT)])
async def test_a_redriven_message_is_done_in_its_first_senders_name(
    broker: BrokerUnderTest, keys: Keys, sender: str, message: Any
) -> None:
    dead = await dead_letter(broker, keys, sender, message)
    calls: list[RequestContext] = []

    async with working(
        broker,
        keys["catalog"],
        "sync",
        {type(message): lambda _: calls.append(current_context.get())},
    ):
        await redrive(broker, keys, dead)
        await eventually(lambda: calls)

    (call,) = calls
    assert (call.caller, call.message_id, call.correlation_id) == (
        sender,
        dead.properties.message_id,
        "request-1",
    )


async def test_a_redriven_message_has_all_its_attempts_again(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    dead = await dead_letter(broker, keys, "auth", EVENT)
    done: list[Any] = []

    async with working(broker, keys["catalog"], "sync", {LoginFailed: failing(2, done)}) as worker:
        await redrive(broker, keys, dead)
        await eventually(lambda: done == [EVENT])

    assert worker.counts["put_aside"] == 2


async def test_each_redrive_is_counted_in_the_signature(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    dead = await dead_letter(broker, keys, "auth", EVENT)

    await redrive(broker, keys, dead)
    (once,) = await waiting_in(broker, QUEUE)
    await redrive(broker, keys, once)
    twice = (await waiting_in(broker, QUEUE, count=2))[-1]

    assert [claims_of(each).nth for each in (dead, once, twice)] == [0, 1, 2]
    assert claims_of(twice).origin == "auth"


async def test_what_a_broker_and_a_worker_noted_is_left_behind(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    dead = await dead_letter(broker, keys, "catalog", JOB)
    assert {"x-death", ATTEMPT} <= dead.headers.keys()
    dead.headers.update({"CC": ["x"], "BCC": ["x"], "weight": 1.5, "note": "kept"})

    await redrive(broker, keys, dead)
    (back,) = await waiting_in(broker, QUEUE)

    left = {name for name in back.headers if not name.startswith("x-delivery")}  # a look's own
    assert left == {"signature", "weight", "note"}


async def test_what_is_in_quarantine_is_what_died(broker: BrokerUnderTest, keys: Keys) -> None:
    dead = await dead_letter(broker, keys, "catalog", JOB)
    dead.headers["CC"] = [BACK]  # would be a second way into the queue

    async with publishing(broker, OPERATOR) as publisher:
        await Redriver(publisher, keys[OPERATOR]).quarantine(captured(dead), QUEUE)
    (kept,) = await waiting_in(broker, QUARANTINE)

    assert kept.body == dead.body
    as_dead = copy_of_letter(kept.body, kept.properties)
    assert as_dead is not None
    assert as_dead.died_where == QUEUE
    assert as_dead.properties.user_id == dead.properties.user_id
    assert as_dead.headers["signature"] == dead.headers["signature"]
    assert as_dead.headers["CC"] == [BACK]
    assert await broker.depth(QUEUE) == 0


async def test_where_the_queue_is_gone_a_letter_is_not_moved(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    dead = await dead_letter(broker, keys, "catalog", JOB)

    async with publishing(broker, OPERATOR) as publisher:
        with pytest.raises(NotMoved, match="no such queue"):
            await Redriver(publisher, keys[OPERATOR]).redrive(
                captured(dead), claims_of(dead), work_queue("catalog", "gone"), "catalog"
            )


# who may send what


def redriven(signer: LastingSigner, **changes: Any) -> str:
    """Sign a redrive, some of whose claims a test has changed."""
    dead = Claims(
        alg="EdDSA",
        b64=False,
        crit=["b64"],
        kid="any",
        typ="job",
        iss="catalog",
        aud="catalog",
        op=FetchPage.name,
        iat=time(),
        exp=time(),
        jti="m",
        cid="c",
    )
    audience = changes.pop("aud", "catalog")
    return signer.redrive(dead.model_copy(update=changes), audience=audience, body=BODY)


def without_origin(signer: LastingSigner) -> str:
    return signer._sign(
        "redrive", FetchPage.name, BODY, audience="catalog", message_id="m", cid="c"
    )


def as_it_was(signer: LastingSigner) -> str:
    return signer.job(
        audience="catalog", name=FetchPage.name, body=BODY, message_id="m", correlation_id="c"
    )


@dataclass
class Redrive:
    """A redrive as the operator makes it; a test changes what it is about."""

    sign: Callable[[LastingSigner], str] = redriven
    signed_by: str = OPERATOR
    signed_at: float | None = None
    sender: str = OPERATOR
    user_id: str | None = OPERATOR
    exchange: str = RETRY_EXCHANGE
    routing_key: str = BACK
    more_headers: dict[str, Any] = field(default_factory=dict)
    more_body: bytes = b""

    async def send(self, broker: BrokerUnderTest, keys: Keys) -> None:
        clock = time if self.signed_at is None else lambda: self.signed_at or 0.0
        signature = self.sign(LastingSigner(keys[self.signed_by], clock=clock))
        outcome = await publish(
            broker,
            self.sender,
            self.exchange,
            self.routing_key,
            BODY + self.more_body,
            headers={"signature": signature} | self.more_headers,
            message_id="m",
            type=FetchPage.name,
            user_id=self.user_id,
        )
        assert outcome is Outcome.CONFIRMED


async def test_an_honest_redrive_is_done(broker: BrokerUnderTest, keys: Keys) -> None:
    done: list[Any] = []
    async with working(broker, keys["catalog"], "sync", {FetchPage: done.append}):
        await Redrive().send(broker, keys)
        await eventually(lambda: done == [JOB])


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        pytest.param(
            Redrive(
                signed_by="catalog",
                sender="catalog",
                user_id="catalog",
                exchange=WORK_EXCHANGE,
                routing_key=FetchPage.name,
            ),
            "caller_not_allowed",
            id="by a service that may not redrive",
        ),
        pytest.param(
            Redrive(sign=lambda signer: redriven(signer, iss="bridge")),
            "caller_not_allowed",
            id="of one who may not send the job",
        ),
        pytest.param(
            Redrive(sign=lambda signer: redriven(signer, iss="nobody")),
            "caller_not_allowed",
            id="of one whom nobody knows",
        ),
        pytest.param(Redrive(sign=without_origin), "caller_not_allowed", id="of nobody"),
        pytest.param(
            Redrive(sign=lambda signer: redriven(signer, aud="auth")),
            "wrong_audience",
            id="for another service",
        ),
        pytest.param(
            Redrive(sign=lambda signer: redriven(signer, op="catalog.product.added")),
            "wrong_type",
            id="of what nobody here works on",
        ),
        pytest.param(Redrive(more_body=b" "), "bad_signature", id="with another body"),
        pytest.param(Redrive(user_id=None), "sender_mismatch", id="from no user"),
        pytest.param(
            Redrive(sign=as_it_was, signed_by="catalog"),
            "sender_mismatch",
            id="with the first signature",
        ),
        pytest.param(Redrive(more_headers={"CC": [BACK]}), "carbon_copy", id="with a carbon copy"),
        pytest.param(Redrive(signed_at=1.0), "expired", id="too late"),
    ],
)
async def test_a_dishonest_redrive_is_refused(
    broker: BrokerUnderTest, keys: Keys, letter: Redrive, reason: str
) -> None:
    handlers: BackgroundHandlers = {FetchPage: print}
    async with working(broker, keys["catalog"], "sync", handlers) as worker:
        await letter.send(broker, keys)
        await waiting_in(broker, DEAD_QUEUE)

    assert set(worker.counts) == {f"refused.{reason}"}


@pytest.mark.parametrize(
    ("user", "exchange", "routing_key"),
    [
        ("catalog", RETRY_EXCHANGE, BACK),
        ("catalog", RETRY_EXCHANGE, QUARANTINE),
        (OPERATOR, RETRY_EXCHANGE, wait_key(1, QUEUE)),
        (OPERATOR, RETRY_EXCHANGE, "0.rpc.catalog"),
        (OPERATOR, "dead.work", QUEUE),
        (OPERATOR, WORK_EXCHANGE, FetchPage.name),
        (OPERATOR, "", dead_queue(QUEUE)),
    ],
)
async def test_only_the_operator_puts_back_and_only_that(
    broker: BrokerUnderTest, user: str, exchange: str, routing_key: str
) -> None:
    assert await publish(broker, user, exchange, routing_key, b"x") is Outcome.LOST
    assert await broker.depth(QUEUE) == 0
