"""What a worker counts of its messages."""

from collections import Counter
from collections.abc import Iterable

from postroad.observability.metrics import Histograms, known


class WorkerMetrics:
    """Counts and times messages by their name; those without a handler share one (``known``)."""

    def __init__(self, names: Iterable[str]) -> None:
        self.ended: Counter[tuple[str, ...]] = Counter()  # by name and code
        self.durations, self.queue_waits = Histograms(), Histograms()
        self.upstream_waits = Histograms()
        self._names = frozenset(names)

    def waited(self, name: str, queue_s: float) -> None:
        """Note how long a message was in the queue."""
        self.queue_waits[known(name, self._names)].add(queue_s)

    def done(
        self, name: str, code: str, duration_s: float, upstream_s: float | None = None
    ) -> None:
        """Note how a message ended, and what it took."""
        label = known(name, self._names)
        self.ended[label, code] += 1
        self.durations[label].add(duration_s)
        if upstream_s is not None:
            self.upstream_waits[label].add(upstream_s)
