"""Where the time of a request goes: each hop stamps its part, and the caller puts them together.

A worker signs into its reply how long the request waited for it, how long it took, and how much of
that it waited for an upstream (the claim ``tms``). The caller knows by its own clock how long it
all took; what is left is the way back.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter

from postroad.context import current_context

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Trip:
    """A request over the broker and its reply; the parts but ``upstream_s`` are the whole."""

    queue_s: float  # from being published until the worker took it
    worker_s: float  # from then until it published the reply
    reply_s: float  # the way back
    upstream_s: float | None  # of the worker's time; none when it asked no upstream

    @classmethod
    def of(cls, whole_s: float, times_us: Sequence[int]) -> "Trip":
        """Read a worker's times, of a trip that took ``whole_s`` by our clock.

        Only the wait in the queue is measured with two machines' clocks. When they differ it may
        be too long or too short, and the way back the other way round; none of it is negative,
        nor more than the whole.
        """
        queue_us, worker_us, *upstream_us = times_us
        worker_s = min(worker_us / _US, whole_s)
        queue_s = min(queue_us / _US, whole_s - worker_s)
        upstream_s = min(upstream_us[0] / _US, worker_s) if upstream_us else None
        return cls(queue_s, worker_s, whole_s - worker_s - queue_s, upstream_s)

    @property
    def whole_s(self) -> float:
        return self.queue_s + self.worker_s + self.reply_s


last_trip: ContextVar[Trip | None] = ContextVar("last_trip", default=None)
"""The trip of the last call that this task has made and that was answered."""


def times_us(queue_s: float, worker_s: float, upstream_s: float | None) -> tuple[int, ...]:
    """Give a worker's times as the claim ``tms``, in whole microseconds."""
    times = (queue_s, worker_s) if upstream_s is None else (queue_s, worker_s, upstream_s)
    return tuple(int(seconds * _US) for seconds in times)


def milliseconds(**seconds: float | None) -> dict[str, float]:
    """Name times for the log, ``duration`` as ``duration_ms``; those that there are."""
    return {f"{name}_ms": round(s * 1000, 2) for name, s in seconds.items() if s is not None}


@contextmanager
def waiting_upstream() -> Iterator[None]:
    """Count the time within as waiting for an upstream, for the request being answered."""
    call = current_context.get(None)
    began = perf_counter()
    try:
        yield
    finally:
        if call is not None:
            call.upstream_s = (call.upstream_s or 0.0) + perf_counter() - began
