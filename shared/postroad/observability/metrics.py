"""What a process can tell of itself in numbers: counted cheaply, read when somebody asks.

The hot path adds to plain numbers, here or in a ``Counter``; all else happens when Prometheus asks
(docs/decisions/0016-measuring.md). A label's values are few and ours: never what a caller wrote.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

BUCKETS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
OTHER = "other"  # the label of whatever is none of ours


class Histogram:
    """How long something took, each time: counted by bucket.

    To be added to from one thread only; prometheus_client's own histogram takes a lock and walks
    through its buckets, which costs several times as much.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[int]:
        """Count what took no longer than each bucket's bound, and all of it at the end."""
        return list(accumulate(self.counts))


class Histograms(dict[str, Histogram]):
    """A spread for each name, made when first added to; names are few."""

    def __missing__(self, name: str) -> Histogram:
        spread = self[name] = Histogram()
        return spread


Number = float | Histogram
Values = Mapping[tuple[str, ...], Number]  # by the values of the labels


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name with the unit, what it says, and how to read it now.

    ``read`` is called in another thread. It may raise a ``ServiceError`` when the value cannot be
    known; then the metric is left out.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    read: Callable[[], Values]
    labels: tuple[str, ...] = ()


def number(read: Callable[[], float]) -> Callable[[], Values]:
    """Give the reading of a metric without labels."""
    return lambda: {(): read()}


def by_label(read: Callable[[], Mapping[str, Number]]) -> Callable[[], Values]:
    """Give the reading of a metric with one label."""
    return lambda: {(label,): value for label, value in dict(read()).items()}


def with_prefix(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Select what is counted under ``<prefix>.<label>``."""
    return {
        name.removeprefix(f"{prefix}."): count
        for name, count in dict(counts).items()
        if name.startswith(f"{prefix}.")
    }


def known(name: str, names: Iterable[str]) -> str:
    """Fold a name that is none of ours into one label."""
    return name if name in names else OTHER
