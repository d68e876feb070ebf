"""Every metric that our processes can tell, and which ones an expression of Prometheus asks for."""

import re
from collections.abc import Iterator
from typing import Any

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from catalog_worker.metrics import cache_metrics, upstream_metrics
from http_bridge.http.metrics import HttpMetrics
from ops.local.supervisor import Supervisor
from ops.scaling.metrics import supervisor_metrics
from postroad.observability.metrics import Metric
from postroad.observability.prometheus import BUILD
from postroad.runtime.metrics import (
    background_metrics,
    client_metrics,
    traffic_metrics,
    worker_metrics,
)
from postroad.storage.outbox import outbox_metrics
from tests.support.upstreams import settings_for

NOBODY: Any = None  # whom only the reading of a measure would ask
RABBITMQ = {
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_detailed_queue_messages_unacked",
}
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
_WORDS = {"absent", "and", "by", "count", "deriv", "histogram_quantile", "increase", "le", "max"}
_WORDS |= {"label_replace", "or", "rate", "sum", "vector"}


def our_metrics() -> Iterator[Metric]:
    settings = settings_for("http://upstream.invalid")
    fetcher = Fetcher(settings)
    yield BUILD
    yield from client_metrics(NOBODY)
    yield from worker_metrics(NOBODY)
    yield from background_metrics(NOBODY)
    yield from traffic_metrics(NOBODY)
    yield from outbox_metrics(NOBODY, NOBODY)
    yield from cache_metrics(CachedCatalog(UpstreamCatalog(fetcher), settings))
    yield from upstream_metrics(fetcher)
    yield from HttpMetrics().metrics(lambda: 0)
    yield from supervisor_metrics(Supervisor())


def series() -> dict[str, set[str]]:
    """Name the series that can be asked for, with their labels."""
    found = {}
    for measure in our_metrics():
        labels = set(measure.labels)
        if measure.kind == "histogram":
            for suffix in ("bucket", "sum", "count"):
                found[f"{measure.name}_{suffix}"] = labels | {"le"}
        else:
            found[measure.name] = labels
    return found


def asked_for(expression: str) -> set[str]:
    """Find the metrics in an expression: what is neither a label, a function nor a number."""
    bare = re.sub(r'\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|"[^"]*"', " ", expression)
    return set(re.findall(r"[a-z_][a-z0-9_:]*", bare)) - _WORDS


def labels_of(expression: str) -> set[str]:
    """Find the labels that an expression selects or sums by."""
    matched = {
        name
        for selector in re.findall(r"\{([^}]*)\}", expression)
        for name in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector)
    }
    summed = {
        name.strip()
        for names in re.findall(r"\bby \(([^)]*)\)", expression)
        for name in names.split(",")
    }
    return matched | summed
