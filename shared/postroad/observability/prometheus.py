"""A process's numbers in Prometheus' words. Imported only where there is a port to serve them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.registry import Collector

from postroad.contracts.errors import ServiceError
from postroad.observability.metrics import BUCKETS_S, Histogram, Metric, Number, Values
from postroad.version import VERSION

log = structlog.get_logger()

_BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")
BUILD = Metric(
    "gauge", "postroad_build_info", "Which version runs", lambda: {(VERSION,): 1},
    ("version",),
)  # fmt: skip


def reader_of(metrics: Iterable[Metric]) -> Callable[[], bytes]:
    """Return what reads the metrics, and writes them as Prometheus reads them."""
    return partial(generate_latest, registry_of(metrics))


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
