"""What is counted of real messages, over the in-memory broker and over RabbitMQ."""

import asyncio

import pytest

from postroad.contracts.auth import CreateSession, RefreshSession, Session
from postroad.contracts.errors import (
    InternalError,
    InvalidCredentials,
    InvalidRequest,
    ReplyTimeout,
    ServiceError,
)
from postroad.observability.timing import waiting_upstream
from postroad.runtime.metrics import client_metrics, worker_metrics
from postroad.security.claims import Reason
from postroad.security.keyring import KeyRing
from postroad.testing import calling, eventually, serving
from tests.support.brokers import BrokerUnderTest
from tests.support.letters import write
from tests.support.scraping import Scrape
from tests.support.services import SESSION, SIGN_IN, sign_in
from tests.support.traffic import replies_to

Keys = dict[str, KeyRing]
METHOD = CreateSession.method
REFRESH = RefreshSession(sealed_refresh_token="sealed")
REQUESTS, CALLS = "postroad_requests_total", "postroad_calls_total"


async def test_both_sides_count_what_was_asked_and_how_it_ended(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    outcomes: list[Session | Exception] = [
        SESSION,
        SESSION,
        InvalidCredentials(),
        RuntimeError("a bug"),
    ]

    async def answer(_: CreateSession) -> Session:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with (
        serving(broker, keys["auth"], {CreateSession: answer}) as worker,
        calling(broker, keys["bridge"]) as client,
    ):
        await client.call(SIGN_IN)
        await client.call(SIGN_IN)
        for error in (InvalidCredentials, InternalError, InvalidRequest):
            with pytest.raises(error):
                await client.call(REFRESH if error is InvalidRequest else SIGN_IN)
        await eventually(lambda: worker.in_flight == 0)
        answered, called = Scrape.of(worker_metrics(worker)), Scrape.of(client_metrics(client))

    for code, count in (("ok", 2), ("invalid_credentials", 1), ("internal", 1)):
        assert answered.value(REQUESTS, method=METHOD, code=code) == count
        assert called.value(CALLS, method=METHOD, code=code) == count
    assert answered.value(REQUESTS, method="other", code="invalid_request") == 1
    assert called.value(CALLS, method=RefreshSession.method, code="invalid_request") == 1
    assert answered.value("postroad_request_duration_seconds_count", method=METHOD) == 4
    assert answered.value("postroad_request_queue_seconds_count", method=METHOD) == 4
    assert called.value("postroad_call_duration_seconds_count", method=METHOD) == 4


async def test_whatever_methods_callers_invent_there_is_one_label_for_all(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with (
        serving(broker, keys["auth"], {CreateSession: sign_in}) as worker,
        replies_to(broker, "bridge") as inbox,
    ):
        for number in range(20):
            method = f"auth.sessions.{'x' * 90}{number}"
            hostile = type("Hostile", (CreateSession,), {}, method=method)
            request = hostile(**SIGN_IN.model_dump())
            await write(keys["bridge"], request, reply_to=inbox.address).post(broker, "bridge")
        await inbox.take(20)
        await eventually(lambda: worker.in_flight == 0)
        scraped = Scrape.of(worker_metrics(worker))

    assert scraped.value(REQUESTS, method="other", code="invalid_request") == 20
    for name in (REQUESTS, "postroad_request_duration_seconds_count"):
        assert scraped.labels(name, "method") == {"other"}


async def test_what_is_refused_is_counted_by_its_reason(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with serving(broker, keys["auth"], {CreateSession: sign_in}) as worker:
        for change in ({"signature": None}, {"signature": "x"}, {"authorization": "x"}):
            letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x")
            letter.headers.update(change)
            await letter.post(broker, "bridge")
        await eventually(lambda: sum(worker.counts.values()) == 3)
        scraped = Scrape.of(worker_metrics(worker))

    name = "postroad_requests_refused_total"
    for reason in ("unsigned", "malformed", "token_mismatch"):
        assert scraped.value(name, reason=reason) == 1, reason
    assert scraped.value(name) == 3
    assert scraped.labels(name, "reason") == set(Reason)
    assert scraped.value(REQUESTS) == 0


async def test_late_and_wasted_work_is_counted(broker: BrokerUnderTest, keys: Keys) -> None:
    async with serving(broker, keys["auth"], {CreateSession: sign_in}) as worker:
        late = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x", timeout_s=-1)
        await late.post(broker, "bridge")
        in_vain = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.gone")
        await in_vain.post(broker, "bridge")
        await eventually(lambda: worker.counts["late"] and worker.counts["ok"])
        scraped = Scrape.of(worker_metrics(worker))

    assert scraped.value("postroad_requests_late_total") == 1
    assert scraped.value("postroad_requests_wasted_total", reason="returned") == 1
    assert scraped.value("postroad_requests_wasted_total") == 1


async def test_what_is_in_flight_is_counted_on_both_sides_until_it_ends(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    may_end = asyncio.Event()

    async def wait(_: CreateSession) -> Session:
        with waiting_upstream():
            await may_end.wait()
        return SESSION

    async with (
        serving(broker, keys["auth"], {CreateSession: wait}) as worker,
        calling(broker, keys["bridge"]) as client,
    ):
        calls = [asyncio.create_task(client.call(SIGN_IN)) for _ in range(3)]
        await eventually(lambda: worker.in_flight == 3)
        during = Scrape.of([*worker_metrics(worker), *client_metrics(client)])
        may_end.set()
        await asyncio.gather(*calls)
        await eventually(lambda: worker.in_flight == 0)
        after = Scrape.of([*worker_metrics(worker), *client_metrics(client)])

    assert during.value("postroad_requests_in_flight") == 3
    assert during.value("postroad_calls_in_flight") == 3
    assert after.value("postroad_requests_in_flight") == 0
    assert after.value("postroad_calls_in_flight") == 0
    assert after.value("postroad_request_upstream_seconds_count", method=METHOD) == 3


async def test_a_call_that_fails_or_is_given_up_is_counted_too(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    async with calling(broker, keys["bridge"]) as client:
        with pytest.raises(ReplyTimeout):
            await client.call(SIGN_IN, timeout_s=0.05)
        given_up = asyncio.create_task(client.call(SIGN_IN))
        await eventually(lambda: client.in_flight == 1)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await broker.go_away()
        await eventually(lambda: not client.is_connected)
        with pytest.raises(ServiceError):
            await client.call(SIGN_IN)
        scraped = Scrape.of(client_metrics(client))

    for code in ("reply_timeout", "given_up", "unavailable"):
        assert scraped.value(CALLS, method=METHOD, code=code) == 1, code
