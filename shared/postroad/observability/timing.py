"""The times that a worker takes of a request, and signs into its reply (the claim ``tms``).

How long the request waited for the worker, how long it took, and how much of that it waited for an
upstream. The caller knows by its own clock how long it all took; what is left is the way back.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter, time

from postroad.contracts.message import CallTiming

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


def call_timing(whole_s: float, times_us: Sequence[int]) -> CallTiming:
    """Read a worker's times (the claim ``tms``), of a call that took ``whole_s`` by our clock.

    Only the wait in the queue is measured with two machines' clocks. When they differ it may be
    too long or too short, and the way back the other way round; none of it is negative, nor more
    than the whole.
    """
    queue_us, worker_us, *upstream_us = times_us
    worker_s = min(worker_us / _US, whole_s)
    queue_s = min(queue_us / _US, whole_s - worker_s)
    upstream_s = min(upstream_us[0] / _US, worker_s) if upstream_us else None
    return CallTiming(queue_s, worker_s, whole_s - worker_s - queue_s, upstream_s)


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
