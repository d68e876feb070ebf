"""What the bridge counts of its own requests."""

from collections import Counter
from collections.abc import Callable

from postroad.observability.metrics import Histograms, Metric, by_label, known, number

METHODS = ("DELETE", "GET", "HEAD", "POST")


class HttpMetrics:
    """HTTP requests that were answered, by route, method and status: all of them names of ours."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, ...]] = Counter()
        self._durations = Histograms()

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """Note an answer."""
        self._answered[route, known(method, METHODS), str(status)] += 1
        self._durations[route].add(seconds)

    def metrics(self, in_flight: Callable[[], float]) -> list[Metric]:
        """Return them for Prometheus."""
        return [
            Metric(
                "counter",
                "postroad_http_requests_total",
                "HTTP requests that were answered",
                lambda: dict(self._answered),
                ("route", "method", "status"),
            ),
            Metric(
                "histogram",
                "postroad_http_request_duration_seconds",
                "Time from reading an HTTP request's head until its answer began",
                by_label(lambda: self._durations),
                ("route",),
            ),
            Metric(
                "gauge",
                "postroad_http_requests_in_flight",
                "HTTP requests that are being answered",
                number(in_flight),
            ),
        ]
