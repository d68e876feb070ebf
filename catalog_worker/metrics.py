"""What the catalogue service counts besides its messages."""

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from postroad.observability.metrics import Metric, by_label, number

BREAKER_STATES = ("closed", "half_open", "open")


def cache_metrics(cached: CachedCatalog) -> list[Metric]:
    """How often memory had the answer."""
    return [
        Metric(
            "counter",
            "postroad_catalog_cache_lookups_total",
            "Questions to the cache: it was fresh, was given while being renewed, or was missing",
            by_label(lambda: cached.lookups),
            ("result",),
        ),
        Metric(
            "counter",
            "postroad_catalog_cache_stale_answers_total",
            "Answers that were older than they should be, since upstream could not be asked",
            number(lambda: cached.stale_answers),
        ),
    ]


def upstream_metrics(fetcher: Fetcher) -> list[Metric]:
    """How the product API does."""
    counts, breaker = fetcher.counts, fetcher.breaker
    return [
        Metric(
            "counter",
            "postroad_catalog_upstream_fetches_total",
            "Fetches from the product API, each with its retries, by how they ended",
            by_label(lambda: counts.ended),
            ("code",),
        ),
        Metric(
            "counter",
            "postroad_catalog_upstream_retries_total",
            "Attempts after the first one of a fetch",
            number(lambda: counts.retries),
        ),
        Metric(
            "histogram",
            "postroad_catalog_upstream_fetch_duration_seconds",
            "Time that a fetch took, with its retries",
            lambda: {(): counts.durations},
        ),
        Metric(
            "gauge",
            "postroad_catalog_breaker_state",
            "1 for the state of the circuit breaker: open, nothing is asked",
            by_label(lambda: {name: float(breaker.state == name) for name in BREAKER_STATES}),
            ("state",),
        ),
    ]
