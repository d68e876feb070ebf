"""A process's numbers for Prometheus, at ``/metrics`` on a port of their own.

The port is not for the world: it is on loopback unless ``METRICS_HOST`` says otherwise.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from importlib.metadata import version

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.registry import Collector

from postroad.contracts.errors import ServiceError
from postroad.observability.metrics import BUCKETS_S, Histogram, Metric, Number, Values
from postroad.settings import MetricsSettings

log = structlog.get_logger()

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEAD_MAX_BYTES = 16 * 1024
PATIENCE_S = 10.0  # Prometheus' own, by default
_BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")
BUILD = Metric(
    "gauge", "postroad_build_info", "Which version runs", lambda: {(version("postroad"),): 1},
    ("version",),
)  # fmt: skip


@asynccontextmanager
async def serving_metrics(
    settings: MetricsSettings, metrics: Iterable[Metric]
) -> AsyncIterator[None]:
    """Serve metrics for as long as the context lasts, if there is a port to serve them on.

    On the event loop, so that a process whose loop is stuck has no metrics and is seen to be down.

    Raises:
        SystemExit: the port cannot be listened on.
    """
    if settings.port is None:
        yield
        return
    answer = partial(_answer, registry_of(metrics))
    try:
        server = await asyncio.start_server(
            answer, settings.host, settings.port, limit=HEAD_MAX_BYTES
        )
    except OSError as error:
        raise SystemExit(f"cannot start: METRICS_PORT: {error.strerror}") from None
    log.info("metrics served", host=settings.host, port=server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()


async def _answer(
    registry: CollectorRegistry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request, and close: who asks does so every few seconds."""
    try:
        with suppress(
            TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError
        ):
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(registry, head))
                await writer.drain()
    finally:
        writer.close()


async def _response(registry: CollectorRegistry, head: bytes) -> bytes:
    method, _, target = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if method != "GET" or target.partition(" ")[0].partition("?")[0] != PATH:
        return _write(HTTPStatus.NOT_FOUND, b"it is GET /metrics\n")
    # some of it may ask a database
    return _write(HTTPStatus.OK, await asyncio.to_thread(generate_latest, registry))


def _write(status: HTTPStatus, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )


def registry_of(metrics: Iterable[Metric]) -> CollectorRegistry:
    """Make what is asked for numbers: ours, and those of the process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_AllMetrics((BUILD, *metrics)))
    return registry


class _AllMetrics(Collector):
    """Reads all metrics, each time anew."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[MetricFamily]:
        for metric in self._metrics:
            try:
                values = metric.read()
            except ServiceError as error:
                log.debug("not measured", name=metric.name, reason=str(error))
            else:
                yield _family(metric, values)


def _family(metric: Metric, values: Values) -> MetricFamily:
    match metric.kind:
        case "counter":
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                counter.add_metric(labels, _plain(value))
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                gauge.add_metric(labels, _plain(value))
            return gauge
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        if isinstance(value, Histogram):
            counts = zip(_BOUNDS, value.cumulative(), strict=True)
            histogram.add_metric(labels, list(counts), sum_value=value.sum_s)
    return histogram


def _plain(value: Number) -> float:
    if isinstance(value, Histogram):
        raise TypeError("a spread is a histogram's")
    return value
