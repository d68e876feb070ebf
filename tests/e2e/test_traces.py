"""The spans that a running system sends to a collector."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, log_lines, running_system
from tests.support.collector import Collector, Seen, running_collector

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TRACE_ID, CLIENT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOT_SAMPLED = "5bf92f3577b34da6a3ce929d0e0e4736"
SYNC_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Traced:
    """A system that sends its spans to a collector, and somebody signed in to it."""

    system: System
    collector: Collector
    user: httpx.AsyncClient


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traced(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Traced]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",  # ms
    }
    async with (
        running_system(tmp_path_factory.mktemp("traced"), **settings) as system,
        httpx.AsyncClient(base_url=system.url, timeout=10) as user,
    ):
        token = (await user.post("/auth", json=CREDENTIALS)).json()["access_token"]
        user.headers["Authorization"] = f"Bearer {token}"
        yield Traced(system, collector, user)


async def ask(traced: Traced, path: str, *, trace_id: str, sampled: bool = True) -> httpx.Response:
    """Ask as a client does who traces: under a span of its own."""
    parent = f"00-{trace_id}-{CLIENT_SPAN}-{'01' if sampled else '00'}"
    response = await traced.user.get(path, headers={"traceparent": parent})
    assert response.status_code == 200, response.text
    return response


def only(spans: list[Seen], kind: str, name: str) -> Seen:
    (found,) = [span for span in spans if span.kind == kind and span.name == name]
    return found


async def test_a_request_is_one_tree_from_the_client_to_upstream_and_back(traced: Traced) -> None:
    response = await ask(traced, "/products/7", trace_id=TRACE_ID)
    await eventually(lambda: len(traced.collector.of(TRACE_ID)) >= 5)

    spans = traced.collector.of(TRACE_ID)
    assert len(spans) == 5
    edge = only(spans, "server", "GET /products/{product_id}")
    sent = only(spans, "producer", "send rpc:catalog.products.get")
    worked = only(spans, "consumer", "process rpc:catalog.products.get:rpc.catalog")
    asked = only(spans, "client", "GET")
    replied = only(spans, "producer", "send rpc.replies")
    assert edge.parent_id == CLIENT_SPAN
    assert sent.parent_id == edge.span_id
    assert worked.parent_id == sent.span_id
    assert asked.parent_id == worked.span_id
    assert replied.parent_id == worked.span_id
    assert (edge.service, sent.service) == ("bridge", "bridge")
    assert (worked.service, asked.service, replied.service) == ("catalog",) * 3
    assert edge.began_ns <= sent.began_ns <= worked.began_ns <= asked.began_ns
    assert asked.ended_ns <= replied.began_ns
    assert edge.attributes["http.response.status_code"] == 200
    assert asked.attributes["http.response.status_code"] == 200
    assert asked.attributes["server.port"] == traced.system.upstream_port
    request_id = response.headers["x-request-id"]
    for span, operation in ((sent, "send"), (worked, "process"), (replied, "send")):
        assert span.attributes["messaging.system"] == "rabbitmq"
        assert span.attributes["messaging.operation.type"] == operation
        assert span.attributes["messaging.message.conversation_id"] == request_id
    assert not any(span.is_error for span in spans)


async def test_every_line_of_a_request_has_its_trace_id(traced: Traced) -> None:
    response = await ask(traced, "/products/8", trace_id=TRACE_ID)
    request_id = response.headers["x-request-id"]

    def lines() -> list[dict[str, object]]:
        found = log_lines(traced.system.state.folder)
        return [line for line in found if line.get("request_id") == request_id]

    await eventually(lambda: len(lines()) == 2)
    assert {line["event"] for line in lines()} == {"http", "request"}
    assert {line["trace_id"] for line in lines()} == {TRACE_ID}


async def test_an_error_is_one_in_the_spans_too(traced: Traced) -> None:
    trace_id = "6bf92f3577b34da6a3ce929d0e0e4736"
    await traced.system.make_upstream(fail_rate=1, fail_with="500")
    try:
        response = await traced.user.get(
            "/products/7", headers={"traceparent": f"00-{trace_id}-{CLIENT_SPAN}-01"}
        )
    finally:
        await traced.system.make_upstream()
    await eventually(
        lambda: (
            "server" in {span.kind for span in traced.collector.of(trace_id)}
            and "consumer" in {span.kind for span in traced.collector.of(trace_id)}
        )
    )

    spans = traced.collector.of(trace_id)
    assert response.status_code == 502
    attempts = sorted(
        (span for span in spans if span.kind == "client"), key=lambda span: span.began_ns
    )
    assert [span.attributes.get("http.request.resend_count", 0) for span in attempts] == [0, 1, 2]
    assert {span.attributes["error.type"] for span in attempts} == {"500"}
    failed = {span.kind: span.attributes["error.type"] for span in spans if span.is_error}
    assert failed["server"] == failed["consumer"] == "upstream_failed"


async def test_a_client_that_does_not_sample_is_followed(traced: Traced) -> None:
    await ask(traced, "/products/7", trace_id=NOT_SAMPLED, sampled=False)
    await ask(traced, "/products/9", trace_id="7bf92f3577b34da6a3ce929d0e0e4736")
    await eventually(lambda: len(traced.collector.of("7bf92f3577b34da6a3ce929d0e0e4736")) >= 5)

    assert traced.collector.of(NOT_SAMPLED) == []


async def test_an_event_and_its_jobs_have_own_traces_linked_to_their_cause(
    traced: Traced,
) -> None:
    started = await traced.user.post("/products/sync")
    assert started.status_code == 202
    request_id = started.headers["x-request-id"]

    def processed(name: str) -> list[Seen]:
        return [
            span
            for span in traced.collector.spans
            if span.kind == "consumer"
            and span.attributes["messaging.message.conversation_id"] == request_id
            and name in span.name
        ]

    def works() -> set[tuple[object, object]]:
        return {
            (line["trace_id"], line["cause_trace_id"])
            for line in log_lines(traced.system.state.folder)
            if line["event"] == "work" and line["request_id"] == request_id
        }

    names = ("rpc.catalog", "catalog.sync.requested", "catalog.pages.fetch")
    await eventually(lambda: all(map(processed, names)), timeout_s=SYNC_TIMEOUT_S)
    (request,) = processed("rpc.catalog")
    (event,) = processed("catalog.sync.requested")
    job = processed("catalog.pages.fetch")[0]
    assert event.parent_id == job.parent_id == ""
    assert event.links == (request.trace_id,)
    assert job.links == (event.trace_id,)
    assert len({request.trace_id, event.trace_id, job.trace_id}) == 3
    in_job = traced.collector.of(job.trace_id)
    assert only(in_job, "client", "GET").parent_id == job.span_id
    await eventually(lambda: (event.trace_id, request.trace_id) in works())
