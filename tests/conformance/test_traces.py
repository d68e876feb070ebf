"""The trace of a request on its way, without a collector: in memory and with RabbitMQ."""

from typing import Any

import pytest
import structlog

from postroad.contracts.auth import CreateSession, Session
from postroad.observability.trace_context import TraceContext, current_trace
from postroad.security.keyring import KeyRing
from postroad.testing import calling, serving
from tests.support.brokers import BrokerUnderTest
from tests.support.services import SESSION, SIGN_IN
from tests.support.tracing import PLACE, within

Keys = dict[str, KeyRing]


async def ask(broker: BrokerUnderTest, keys: Keys, times: int = 1) -> list[TraceContext | None]:
    """Have requests answered, and give in which traces that was."""
    places: list[TraceContext | None] = []

    async def answer(_: CreateSession) -> Session:
        places.append(current_trace.get())
        return SESSION

    async with (
        serving(broker, keys["auth"], {CreateSession: answer}),
        calling(broker, keys["bridge"]) as client,
    ):
        for _ in range(times):
            await client.call(SIGN_IN)
    return places


async def test_a_request_is_answered_in_the_trace_of_its_caller(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    with structlog.testing.capture_logs() as lines, within(PLACE):
        places = await ask(broker, keys)

    assert places == [PLACE]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["trace_id"] == PLACE.trace_id
    assert {"request_id", "outcome", "duration_ms", "queue_ms"} <= line.keys()


async def test_a_request_without_a_trace_begins_one(broker: BrokerUnderTest, keys: Keys) -> None:
    one, other = await ask(broker, keys, times=2)

    assert one is not None
    assert other is not None
    assert one.trace_id != other.trace_id


@pytest.mark.parametrize("parent", ["nonsense", 7, b"\xff", ["a"], "0" * 10_000])
async def test_a_trace_that_is_not_well_formed_harms_no_request(
    broker: BrokerUnderTest, keys: Keys, parent: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: TraceContext, headers: dict[str, Any]) -> None:
        headers["traceparent"] = parent

    monkeypatch.setattr(TraceContext, "write", write)

    (place,) = await ask(broker, keys)

    assert place is not None
    assert place.traceparent != parent
