"""The times that a worker takes of a request, and signs into its reply (the claim ``tms``).

How long the request waited for the worker, how long it took, and how much of that it waited for an
upstream. The caller knows by its own clock how long it all took; what is left is the way back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter, time

_US = 1_000_000


class Stopwatch:
    """The times of one request in a worker, from its delivery on."""

    __slots__ = ("_began", "queue_s", "upstream_s")

    def __init__(self) -> None:
        self._began = perf_counter()
        self.queue_s = 0.0  # from being published until the delivery
        self.upstream_s: float | None = None  # waited for an upstream; none when it was not asked

    def sent(self, at: float) -> None:
        """Note when the request was sent; the caller's clock may be ahead of ours."""
        self.queue_s = max(0.0, time() - at)

    @property
    def elapsed_s(self) -> float:
        return perf_counter() - self._began

    def times_us(self) -> tuple[int, ...]:
        """Return the times up to now as the claim ``tms``, in whole microseconds."""
        queue_us, worker_us = int(self.queue_s * _US), int(self.elapsed_s * _US)
        if self.upstream_s is None:
            return queue_us, worker_us
        return queue_us, worker_us, int(self.upstream_s * _US)


current_stopwatch: ContextVar[Stopwatch] = ContextVar("current_stopwatch")
"""The stopwatch of the request being answered, handed in by the worker."""


@contextmanager
def waiting_upstream() -> Iterator[None]:
    """Count the time within as waiting for an upstream, for the request being answered."""
    stopwatch = current_stopwatch.get(None)
    began = perf_counter()
    try:
        yield
    finally:
        if stopwatch is not None:
            stopwatch.upstream_s = (stopwatch.upstream_s or 0.0) + perf_counter() - began


def milliseconds(**seconds: float | None) -> dict[str, float]:
    """Name times for the log, ``duration`` as ``duration_ms``; those that there are."""
    return {f"{name}_ms": round(s * 1000, 2) for name, s in seconds.items() if s is not None}
