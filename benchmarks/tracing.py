"""What it costs a request to belong to a trace: ``python -m benchmarks.tracing``.

Each step by itself, the best of several runs, so that it holds on a busy machine too. First as it
is without a collector, then recorded; spans are dropped in place of being sent.
"""

import os
import sys
from collections.abc import Callable
from timeit import timeit

from postroad.observability.message_spans import processing, sending
from postroad.observability.spans import record_with
from postroad.observability.trace_context import (
    TraceContext,
    current_trace,
    new_trace,
    parse,
    read_trace,
)

NUMBER, ROUNDS = 500, 100
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
HEADERS = {"signature": "s", "traceparent": PARENT}

Step = Callable[[], object]


def main() -> None:
    current_trace.set(TraceContext(PARENT))
    off: dict[str, Step] = {
        "edge: begin a trace": new_trace,
        "edge: read a client's": lambda: parse(PARENT),
        "client or worker: no span": send,
        "client: write a header": lambda: TraceContext(PARENT).write({}),
        "worker: read a header": lambda: read_trace(HEADERS),
        "worker: note it": lambda: current_trace.set(TraceContext(PARENT)),
    }
    report("without a collector", off)
    assert not [name for name in sys.modules if name.startswith("opentelemetry")]
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    }
    from postroad.observability.otel import OtelRecorder  # noqa: PLC0415  # as in a process that wants it

    record_with(OtelRecorder("bench"))
    spans: dict[str, Step] = {"client: a span of sending": send, "worker: of processing": process}
    report("recorded, sampled", spans)
    current_trace.set(TraceContext(f"{PARENT[:-1]}0"))
    spans.pop("worker: of processing")  # its parent is the header that is sampled
    report("recorded, not sampled", spans)


def send() -> None:
    span = sending("rpc", "catalog.products.list", message_id="m", correlation_id="c", body_bytes=9)
    if span is not None:
        span.end()


def process() -> None:
    span, _ = processing(
        "rpc", "catalog.products.list", "rpc.catalog",
        message_id="m", correlation_id="c", parent=read_trace(HEADERS),
    )  # fmt: skip
    if span is not None:
        span.end()


def report(title: str, steps: dict[str, Step]) -> None:
    best_us = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):  # in turn: what disturbs one disturbs the next one too
        for name, step in steps.items():
            best_us[name] = min(best_us[name], timeit(step, number=NUMBER) / NUMBER * 1e6)
    print(f"\n{title}; load {os.getloadavg()[0]:.1f}; us each, the best of {ROUNDS} of {NUMBER}")
    for name, cost_us in best_us.items():
        print(f"{cost_us:8.2f}  {name}")


if __name__ == "__main__":
    main()
