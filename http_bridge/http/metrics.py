"""What the bridge counts of its own requests."""

from collections import Counter
from collections.abc import Callable, Iterable

from http_bridge.asgi.messages import HttpRequest
from postroad.observability.metrics import OTHER, Histograms, Metric, by_label, known, number

METHODS = ("GET", "HEAD", "POST")


class HttpMetrics:
    """HTTP requests that were answered, by route, method and status: all of them names of ours."""

    def __init__(self, routes: Iterable[str]) -> None:
        """``routes`` may hold one ``{parameter}``, the last part of the path."""
        self._routes = frozenset(route for route in routes if "{" not in route)
        self._prefixes = {
            route.partition("{")[0]: route for route in sorted(routes, key=len) if "{" in route
        }
        self._answered: Counter[tuple[str, ...]] = Counter()
        self._durations = Histograms()

    def add(self, request: HttpRequest, status: int, seconds: float) -> None:
        """Note an answer."""
        route = self.route_of(request.path)
        self._answered[route, known(request.method, METHODS), str(status)] += 1
        self._durations[route].add(seconds)

    def route_of(self, path: str) -> str:
        """Name the route of a path; what has none is ``other``."""
        if path in self._routes:
            return path
        prefix, slash, rest = path.rpartition("/")
        if rest:
            return self._prefixes.get(prefix + slash, OTHER)
        return prefix if prefix in self._routes else OTHER

    def metrics(self, in_flight: Callable[[], float]) -> list[Metric]:
        """Give them for Prometheus."""
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
