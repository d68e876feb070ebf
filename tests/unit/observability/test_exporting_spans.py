"""Whether spans are recorded, and what that costs a process that does not want them."""

import os
import socket
import subprocess
import sys
import threading
from time import monotonic

import pytest
import structlog
from pydantic import ValidationError

from ops.local.ports import LOOPBACK
from postroad.observability import exporting
from postroad.observability.exporting import exporting_spans
from postroad.observability.message_spans import sending
from postroad.observability.spans import Span, recorder
from postroad.observability.trace_context import TraceContext
from postroad.settings import TracingSettings
from postroad.testing import eventually
from tests.support.collector import running_collector
from tests.support.tracing import within

PROGRAMS = ["http_bridge", "auth_worker", "auth_worker.audit", "catalog_worker"]
SAMPLED = 1  # W3C Trace Context section 3.2.2.5.1
PROGRAMS += ["catalog_worker.sync"]


def settings(**values: object) -> TracingSettings:
    return TracingSettings.model_validate(values)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_does_not_import_what_only_a_collector_needs(program: str) -> None:
    code = (
        f"import sys, {program}.__main__; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google'))])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"exporter_otlp_endpoint": "http://c:4318", "sdk_disabled": "true"},
        {"exporter_otlp_endpoint": "http://c:4318", "traces_exporter": "none"},
    ],
)
async def test_without_a_wish_nothing_is_recorded(values: dict[str, object]) -> None:
    async with exporting_spans("shop", settings(**values)):
        assert recorder() is None
        assert send() is None


@pytest.mark.parametrize(
    "values",
    [
        {"exporter_otlp_endpoint": "collector:4318"},
        {"exporter_otlp_endpoint": "http://collector:4318?key=abc"},  # a path is appended to it
        {"exporter_otlp_traces_endpoint": "http://collector:99999/v1/traces"},
    ],
)
def test_an_address_nothing_can_be_sent_to_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="collector"):
        settings(**values)


def test_the_whole_address_of_traces_may_have_a_query() -> None:
    url = "https://collector/v1/traces?key=abc"

    assert settings(exporter_otlp_traces_endpoint=url).endpoint == url


async def test_what_was_begun_is_sent_before_the_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # ms: it is the end that sends it
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # knows no collector of ours
        monkeypatch.setenv("no_proxy", "")

        async with exporting_spans("shop", TracingSettings()):
            span = send()
            assert span is not None
            span.end()
            assert collector.spans == []

        (seen,) = collector.spans
    assert (seen.service, seen.name) == ("shop", "send rpc:a.b.c")
    assert span.context.traceparent.startswith(f"00-{seen.trace_id}-{seen.span_id}-")
    assert recorder() is None


async def test_the_sampler_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

        async with exporting_spans("shop", TracingSettings()):
            span = send()
            assert span is not None
            span.end()

    assert not int(span.context.traceparent[-2:], 16) & SAMPLED
    assert collector.spans == []


@pytest.mark.parametrize(
    ("sampler", "is_seen"), [("parentbased_always_on", False), ("always_on", True)]
)
async def test_a_parent_based_sampler_follows_an_unsampled_parent(
    monkeypatch: pytest.MonkeyPatch, sampler: str, is_seen: bool
) -> None:
    parent = TraceContext(f"00-{'a' * 32}-{'b' * 16}-00")
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)

        async with exporting_spans("shop", TracingSettings()):
            with within(parent):
                span = send()
            assert span is not None
            span.end()

    assert span.context.trace_id == parent.trace_id
    assert [seen.trace_id for seen in collector.spans] == [parent.trace_id] * is_seen


async def test_a_collector_that_is_away_does_not_keep_a_process_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:  # takes connections, and says nothing
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # seconds
        monkeypatch.setattr(exporting, "FLUSH_TIMEOUT_S", 0.2)

        async with exporting_spans("shop", TracingSettings()):
            span = send()
            assert span is not None
            span.end()
            began = monotonic()
        took_s = monotonic() - began

    assert took_s < 5  # nor the ten seconds that an exporter has by default
    # its thread would go on to draw random numbers, which Hypothesis takes for a test's own
    await eventually(lambda: not exporters())


def exporters() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("Otel")]


async def test_without_the_packages_a_process_runs_and_says_which_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:4318")
    monkeypatch.delitem(sys.modules, "postroad.observability.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with structlog.testing.capture_logs() as lines:
        async with exporting_spans("shop", TracingSettings()):
            assert recorder() is None

    (line,) = lines
    assert line["log_level"] == "error"
    assert "postroad[tracing]" in line["event"]


def test_another_protocol_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with pytest.raises(ValueError, match="http/protobuf"):
        TracingSettings()


@pytest.mark.parametrize(
    "variable", ["OTEL_BSP_MAX_QUEUE_SIZE=1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=many"]
)
def test_what_the_sdk_refuses_is_one_sentence_at_the_start(variable: str) -> None:
    code = """if True:
        import asyncio
        from postroad.observability.exporting import exporting_spans
        from postroad.settings import TracingSettings
        async def main():
            async with exporting_spans("shop", TracingSettings()):
                pass
        asyncio.run(main())"""
    name, _, value = variable.partition("=")
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:4318", name: value}

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | there,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("cannot start: OTEL_")


def send() -> Span | None:
    return sending("rpc", "a.b.c", message_id="m", correlation_id="c", body_bytes=2)
