"""Calls to other services, and how many of them may be under way, and whose.

The rule and its figures are in docs/decisions/0015-overload.md.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic

from postroad.contracts.base import ReplyT, Request
from postroad.contracts.errors import (
    OutcomeUnknown,
    Overloaded,
    ReplyTimeout,
    ServiceError,
    Unavailable,
)
from postroad.messaging.client import Client
from postroad.messaging.reply import Reply
from postroad.security.access_tokens import AccessToken

FEW = 8  # as many as one browser asks for at a time, and some; they are always admitted
WAIT_SHARE = 0.5  # of the deadline, for waiting and being answered
BURST_SHARE = 0.05  # of the deadline: whatever came at once and is this young may all come in
SLOTS = 10
_UNANSWERED = (OutcomeUnknown, Overloaded, ReplyTimeout, Unavailable)


class Calls:
    """Calls as ``Client`` does, or refuses at once what would wait for too long.

    Each service has a gate of its own: too many sign-ins keep nobody from products. Callers are
    told apart by the user's id or, before they have signed in, by the client's ``address``.
    """

    def __init__(self, client: Client, *, timeout_s: float, in_flight_max: int) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._gates: defaultdict[str, Gate] = defaultdict(
            lambda: Gate(deadline_s=timeout_s, most=in_flight_max)
        )

    async def call(
        self,
        request: Request[ReplyT],
        *,
        correlation_id: str,
        user: AccessToken | None = None,
        address: str | None = None,
    ) -> Reply[ReplyT]:
        """Send a request and return its reply as it came.

        Raises:
            Overloaded: too many are waiting for this service; nothing was sent.
            ServiceError: what else ``Client.call_raw`` raises.
        """
        caller = address if user is None else user.user_id
        with self._gates[request.service].enter(caller):
            return await self._client.call_raw(
                request, timeout_s=self._timeout_s, user=user, correlation_id=correlation_id
            )


class Gate:
    """Admits calls to one service for as long as it can answer them in time.

    By Little's law a call waits as long as it takes to answer those before it. So the gate is full
    when more are under way than are answered within half a deadline, provided that one of them
    has waited for a while: a burst says nothing yet. When it is full, a caller with fewer calls
    under way than its even share still comes in, up to twice the limit in all, so that the last one
    waits no longer than its deadline.
    """

    def __init__(
        self, *, deadline_s: float, most: int, clock: Callable[[], float] = monotonic
    ) -> None:
        """``most``: the limit never exceeds it, however fast the service is."""
        self._window_s = deadline_s * WAIT_SHARE
        self._clock = clock
        self._most = most
        self._patience_s = deadline_s * BURST_SHARE
        self._retry_after_s = math.ceil(self._window_s)
        self._answered = _Recent(self._window_s)
        self._places: dict[Place, None] = {}  # in the order in which they were taken
        self._held: Counter[Hashable] = Counter()  # places by caller

    def enter(self, caller: Hashable) -> "Place":
        """Admit a call, until the place that it gets is left.

        Raises:
            Overloaded: too many are under way, and the caller has its share of them.
        """
        now = self._clock()
        if len(self._places) >= FEW:
            self._check(caller, now)
        place = Place(self, caller, now)
        self._places[place] = None
        self._held[caller] += 1
        return place

    def leave(self, place: "Place", *, was_answered: bool) -> None:
        """Free a place; ``was_answered`` says whether the service has sent a reply."""
        del self._places[place]
        self._held[place.caller] -= 1
        if not self._held[place.caller]:
            del self._held[place.caller]
        if was_answered:
            self._answered.add(self._clock())

    def _check(self, caller: Hashable, now: float) -> None:
        under_way = len(self._places)
        oldest = next(iter(self._places))
        if now - oldest.since <= self._patience_s and under_way < self._most:
            return
        limit = self._limit(oldest.since, now)
        held = self._held[caller]
        callers = len(self._held) + (not held)
        has_its_share = held >= max(1, limit // callers)
        if under_way >= 2 * limit or (under_way >= limit and has_its_share):
            raise Overloaded(
                "more requests are waiting than can be answered in time",
                retry_after_s=self._retry_after_s,
            )

    def _limit(self, busy_since: float, now: float) -> int:
        """Return how many are answered within half a deadline, by the better of two counts.

        That of the half deadline which is just over is not put off by a hiccup. That of the time
        in which somebody has waited, and the service was busy, knows of a load that has begun.
        """
        recently = self._answered.count(now)
        since = min(busy_since, now - self._patience_s)
        busy = self._answered.rate_since(since, now) * self._window_s
        return max(FEW, min(max(recently, int(busy)), self._most))


@dataclass(eq=False, slots=True)
class Place:
    """A call under way. Leaves its gate at the end of a ``with`` block."""

    _gate: Gate
    caller: Hashable
    since: float

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        was_answered = error is None or (
            isinstance(error, ServiceError) and not isinstance(error, _UNANSWERED)
        )
        self._gate.leave(self, was_answered=was_answered)


class _Recent:
    """Counts what happened within the last so many seconds, to a tenth of them."""

    def __init__(self, window_s: float) -> None:
        self._slot_s = window_s / SLOTS
        self._counts: Counter[int] = Counter()  # by slot, in order

    def add(self, now: float) -> None:
        self._counts[int(now / self._slot_s)] += 1
        if len(self._counts) > SLOTS:
            del self._counts[next(iter(self._counts))]

    def count(self, now: float) -> int:
        return self._count_from(int(now / self._slot_s) - SLOTS + 1)

    def rate_since(self, begin: float, now: float) -> float:
        """Return how many there were a second since ``begin``, or since the first slot if later."""
        first = max(int(begin / self._slot_s), int(now / self._slot_s) - SLOTS + 1)
        return self._count_from(first) / (now - first * self._slot_s)

    def _count_from(self, first: int) -> int:
        return sum(count for slot, count in self._counts.items() if slot >= first)
