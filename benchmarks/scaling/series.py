"""What is measured, and what is simulated, second by second."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.scaling.load import Answer


@dataclass(frozen=True, slots=True)
class Sample:
    """A queue and its processes at one moment."""

    at_s: float
    ready: int
    unacked: int
    wanted: int
    running: int  # processes, those that start or drain too
    consuming: int  # those that the broker gives messages to

    @property
    def depth(self) -> int:
        """Count what KEDA counts."""
        return self.ready + self.unacked


@dataclass(frozen=True, slots=True)
class Poll:
    """What the autoscaler was told when it asked for a queue's depth."""

    at_s: float
    depth: int


@dataclass(frozen=True, slots=True)
class Change:
    """What the autoscaler did."""

    at_s: float
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Second:
    """What became of the requests that were due within one second."""

    at_s: int
    offered: int
    answers: dict[str, int]  # by HTTP status
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class _Group:
    took_s: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)


class Tally:
    """Puts requests together by the second in which they were due."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}

    def add(self, answer: Answer) -> None:
        group = self._groups.setdefault(int(answer.at_s), _Group())
        group.took_s.append(answer.took_s)
        group.statuses[answer.status] += 1

    def seconds(self, *, lot: int = 1) -> list[Second]:
        """Give the seconds in their order; each answer stands for ``lot`` of them."""
        return [
            Second(
                at_s=at_s,
                offered=len(group.took_s) * lot,
                answers={str(key): count * lot for key, count in sorted(group.statuses.items())},
                p50_ms=round(percentile(group.took_s, 0.5) * 1000, 1),
                p95_ms=round(percentile(group.took_s, 0.95) * 1000, 1),
            )
            for at_s, group in sorted(self._groups.items())
        ]


def by_second(answers: Iterable[Answer]) -> list[Second]:
    tally = Tally()
    for answer in answers:
        tally.add(answer)
    return tally.seconds()


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of the values that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
