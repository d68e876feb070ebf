"""The scaling rule on paper: requests, a queue and processes, event by event.

It is the rule itself that decides (``ops.scaling.rule.decide``), and the bridge's own gate that
admits (``http_bridge.calls.gate.Gate``). Simulated are requests, the queue, and workers
that take some at a time, take a while to start and finish what they hold before they end. Left out:
how fast CPUs and the broker are, and failures.

A message of the simulation may stand for a lot of requests that come, wait and are worked on
together. That keeps a million requests a second within reach.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Literal

from benchmarks.scaling.load import Answer
from benchmarks.scaling.series import Sample, Second, Tally
from http_bridge.calls.gate import Gate, Place
from ops.scaling.policy import Policy
from ops.scaling.rule import Memory, decide
from postroad.contracts.errors import Overloaded

_INSTANT_S = 1e-9
_OK, _REFUSED, _LATE = 200, 503, 504  # as the bridge answers


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the simulation is told of the system."""

    policy: Policy
    concurrency: int  # how many requests a process works on at a time
    prefetch: int  # how many it holds
    service_s: float  # how long it works on one
    way_s: float = 0.0  # what the way there and back takes besides
    start_s: float  # from the decision to the first request
    statistics_s: float  # how often queues report, and how often reports are looked at
    first_poll_s: float = 0.0  # when the autoscaler first asks
    deadline_s: float = math.inf  # how long a caller waits
    gate_most: int | None = None  # a bridge's gate admits, and never more than these; None: no gate
    max_length: int | None = None  # how many requests may wait; one more is refused
    lot: int = 1  # requests to a message of the simulation


@dataclass(frozen=True, slots=True)
class Simulated:
    """How it went."""

    seconds: list[Second]
    samples: list[Sample]


_State = Literal["starting", "ready", "draining", "ended"]


@dataclass(frozen=True, slots=True)
class _Depth:
    ready: int
    unacked: int


@dataclass(eq=False, slots=True)
class _Message:
    due_s: float
    place: Place | None = None  # at the gate


@dataclass(eq=False, slots=True)
class _Process:
    state: _State = "ready"
    busy: int = 0
    held: deque[_Message] = field(default_factory=deque)  # taken, and not yet worked on

    @property
    def holds(self) -> int:
        return self.busy + len(self.held)


def simulate(world: World, due: Iterable[float], *, until_s: float) -> Simulated:
    """Run until a time.

    Args:
        due: when each message comes, in order.
    """
    return _Simulation(world, iter(due)).run(until_s)


class _Simulation:
    def __init__(self, world: World, due: Iterator[float]) -> None:
        self._world = world
        self._due = due
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._queue: deque[_Message] = deque()
        self._gate = self._new_gate()
        self._unacked = 0
        self._active = [_Process() for _ in range(world.policy.min_replicas)]
        self._draining: set[_Process] = set()
        self._with_room = deque(self._active)  # in the order in which the broker serves them
        self._reported = self._known = _Depth(0, 0)
        self._memory = Memory()
        self._tally = Tally()
        self._samples: list[Sample] = []
        self._slots = world.concurrency // world.lot
        self._prefetch = world.prefetch // world.lot
        most = world.max_length
        self._max_length = math.inf if most is None else most // world.lot

    def _new_gate(self) -> Gate | None:
        if (most := self._world.gate_most) is None:
            return None
        return Gate(deadline_s=self._world.deadline_s, most=most, clock=lambda: self._now_s)

    def run(self, until_s: float) -> Simulated:
        self._at(0.0, self._report)
        self._at(self._world.statistics_s / 2, self._publish)
        self._at(self._world.first_poll_s, self._poll)
        self._at(0.0, self._sample)
        self._next_arrival()
        while self._events and self._events[0][0] <= until_s:
            self._now_s, _, event = heapq.heappop(self._events)
            event()
        return Simulated(self._tally.seconds(lot=self._world.lot), self._samples)

    def _at(self, at_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), event))

    def _after(self, after_s: float, event: Callable[[], None]) -> None:
        self._at(self._now_s + after_s, event)

    # messages

    def _next_arrival(self) -> None:
        due_s = next(self._due, None)
        if due_s is not None:
            self._at(due_s, self._arrive)

    def _arrive(self) -> None:
        self._expire()
        message = _Message(self._now_s)
        if len(self._queue) >= self._max_length or not self._is_admitted(message):
            self._answer(message, _REFUSED)
        else:
            self._queue.append(message)
            self._deliver()
        self._next_arrival()

    def _is_admitted(self, message: _Message) -> bool:
        """Have the gate decide; all requests are one caller's, as in what was measured."""
        if self._gate is not None:
            try:
                message.place = self._gate.enter("the caller")
            except Overloaded:
                return False
        return True

    def _deliver(self) -> None:
        """Hand out what waits, to each process in turn that may hold more."""
        self._expire()
        while self._queue and self._with_room:
            process = self._with_room.popleft()
            if process.state != "ready":
                continue
            process.held.append(self._queue.popleft())
            self._unacked += 1
            if process.holds < self._prefetch:
                self._with_room.append(process)
            self._work(process)

    def _expire(self) -> None:
        """Let go of what has waited for too long: the broker does so at the head of its queue."""
        while self._queue and self._is_late(self._queue[0]):
            self._answer(self._queue.popleft(), _LATE)

    def _work(self, process: _Process) -> None:
        while process.held and process.busy < self._slots:
            message = process.held.popleft()
            if self._is_late(message):
                self._answer(message, _LATE)
                self._unacked -= 1
                self._has_room(process)
            else:
                process.busy += 1
                left_s = message.due_s + self._world.deadline_s - self._now_s  # given up then
                took_s = min(self._world.service_s, left_s)
                self._after(took_s, partial(self._done, process, message))

    def _done(self, process: _Process, message: _Message) -> None:
        took_s = self._now_s + self._world.way_s - message.due_s
        late = took_s > self._world.deadline_s - _INSTANT_S
        self._answer(message, _LATE if late else _OK)
        process.busy -= 1
        self._unacked -= 1
        self._has_room(process)
        self._work(process)
        self._deliver()

    def _has_room(self, process: _Process) -> None:
        """Note that a process has settled one message."""
        if process.state == "ready" and process.holds == self._prefetch - 1:
            self._with_room.append(process)
        if process.state == "draining" and not process.holds:
            self._end(process)

    def _is_late(self, message: _Message) -> bool:
        return self._now_s - message.due_s > self._world.deadline_s - _INSTANT_S

    def _answer(self, message: _Message, status: int) -> None:
        took_s = {
            _OK: self._now_s - message.due_s + self._world.way_s,
            _REFUSED: self._world.way_s,
            _LATE: self._world.deadline_s,
        }[status]
        self._tally.add(Answer(message.due_s, took_s, status))
        if message.place is not None and self._gate is not None:
            self._gate.leave(message.place, was_answered=status == _OK)

    # processes

    def _report(self) -> None:
        """Have the queue say how deep it is: it does so every now and then."""
        self._reported = self._depth()
        self._after(self._world.statistics_s, self._report)

    def _publish(self) -> None:
        """Have the management API take the last report up, as often, at times of its own."""
        self._known = self._reported
        self._after(self._world.statistics_s, self._publish)

    def _depth(self) -> "_Depth":
        self._expire()
        return _Depth(len(self._queue) * self._world.lot, self._unacked * self._world.lot)

    def _poll(self) -> None:
        decision = decide(
            self._world.policy,
            self._known.ready + self._known.unacked,
            replicas=len(self._active),
            memory=self._memory,
            now_s=self._now_s,
        )
        self._memory = decision.memory
        while len(self._active) < decision.replicas:
            self._start()
        while len(self._active) > decision.replicas:
            self._retire(self._active.pop())  # the newest goes first, as in the supervisor
        self._after(self._world.policy.polling_s, self._poll)

    def _start(self) -> None:
        process = _Process("starting")
        self._active.append(process)
        self._after(self._world.start_s, partial(self._begin, process))

    def _begin(self, process: _Process) -> None:
        if process.state == "starting":
            process.state = "ready"
            self._with_room.append(process)
            self._deliver()

    def _retire(self, process: _Process) -> None:
        if process.holds:
            process.state = "draining"
            self._draining.add(process)
        else:
            self._end(process)

    def _end(self, process: _Process) -> None:
        process.state = "ended"
        self._draining.discard(process)

    def _sample(self) -> None:
        """Note what the management API shows: that is what is measured, too."""
        self._samples.append(
            Sample(
                at_s=self._now_s,
                ready=self._known.ready,
                unacked=self._known.unacked,
                wanted=len(self._active),
                running=len(self._active) + len(self._draining),
                consuming=sum(process.state == "ready" for process in self._active),
            )
        )
        self._after(1.0, self._sample)
