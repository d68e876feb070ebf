"""How fetches end and how long they take."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from postroad.contracts.errors import ServiceError
from postroad.observability.metrics import Histogram


class FetchCounts:
    """Counts of a fetcher; it may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ended: Counter[str] = Counter()  # by the error's code, or "ok"
        self.durations = Histogram()
        self.retries = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count a fetch."""
        began, code = perf_counter(), "internal"
        try:
            yield
            code = "ok"
        except ServiceError as error:
            code = error.code
            raise
        finally:
            with self._lock:
                self.ended[code] += 1
                self.durations.add(perf_counter() - began)

    def count_retry(self, _attempt: object) -> None:
        """Count an attempt that follows a failed one."""
        with self._lock:
            self.retries += 1
