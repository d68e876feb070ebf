"""What goes on in the broker, seen with the bridge's own rights, for as long as somebody looks."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from time import time

from postroad.broker.interfaces import Broker
from postroad.contracts.base import Event
from postroad.contracts.errors import Overloaded
from postroad.contracts.events import (
    LoginFailed,
    LoginSucceeded,
    ProductAdded,
    ProductPriceChanged,
    ProductRemoved,
    SessionRevoked,
)
from postroad.messaging.event_listener import EventListener, Listeners, ReceivedEvent
from postroad.security.keyring import KeyRing

LOOK_INTERVAL_S = 1.0
LOOK_TIMEOUT_S = 2.0  # for all queues; a broker that is slower is as good as away
EVENTS_KEPT = 50
EVENTS_PER_LOOK = 50  # a sync may tell of thousands, and each costs a signature check
LISTENERS_MAX = 32
LISTENERS_PER_USER = 4  # tabs, say


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue at one moment; null is what could not be seen."""

    name: str
    waiting: int | None
    consumers: int | None


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """An event, as far as it is shown: nobody's name or address. ``at``: when we heard it."""

    number: int
    at: float
    name: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look at the broker showed."""

    at: float
    since: float  # when somebody began to look, and events to be kept
    is_connected: bool
    queues: tuple[Queue, ...]
    events_skipped: int


class BrokerMonitor:
    """Looks at the queues each second and hears events, once for all who look, or not at all."""

    def __init__(
        self,
        broker: Broker,
        keys: KeyRing,
        *,
        queues: Iterable[str],
        interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        self.queues = tuple(queues)
        self._broker = broker
        self._keys = keys
        self._interval_s = interval_s
        self._listeners: Counter[int] = Counter()  # by user
        self._looking: asyncio.Task[None] | None = None
        self._seen = asyncio.Event()
        self._numbers = count(1)
        self._happenings: deque[RecentEvent] = deque(maxlen=EVENTS_KEPT)
        self._heard_since_look = 0
        self._skipped = 0
        self._since = 0.0
        self.sight: Snapshot | None = None
        self.is_stopped = False

    @property
    def is_active(self) -> bool:
        """Whether the broker is looked at."""
        return self._looking is not None and not self._looking.done()

    @contextmanager
    def listening(self, user_id: int) -> Iterator[None]:
        """Look at the broker meanwhile.

        Raises:
            Overloaded: too many do already.
        """
        self.check_room(user_id)
        self._listeners[user_id] += 1
        if not self.is_active:
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            self._listeners[user_id] -= 1
            self._listeners += Counter()  # forgets those who have none left

    def check_room(self, user_id: int) -> None:
        """Raise ``Overloaded`` when no further listener is taken, of this user or at all."""
        if self._listeners[user_id] >= LISTENERS_PER_USER:
            raise Overloaded(f"this user listens {LISTENERS_PER_USER} times already")
        if self._listeners.total() >= LISTENERS_MAX:
            raise Overloaded(f"{LISTENERS_MAX} listen already")

    async def changed(self) -> None:
        """Wait for the next look, or for the end."""
        if not self.is_stopped:
            await self._seen.wait()

    def happenings(self, *, after: int) -> list[RecentEvent]:
        """Return the events that came after one of this number, as far as they are kept."""
        return [each for each in self._happenings if each.number > after]

    def stop(self) -> None:
        """Let all listeners go; the process is about to end."""
        self.is_stopped = True
        self._tell()

    async def close(self) -> None:
        """Look no more."""
        self.stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_on(self) -> None:
        while self._listeners and not self.is_stopped:
            self._since = time()
            self._skipped = self._heard_since_look = 0
            opened = asyncio.Event()
            listener = EventListener(
                self._takes(),
                broker=self._broker,
                keys=self._keys,
                on_open=opened.set,
                wants=self._wants,
            )
            await listener.start()
            try:
                with suppress(TimeoutError):  # or the first sight would be of no broker
                    await asyncio.wait_for(opened.wait(), self._interval_s)
                while self._listeners:
                    self.sight = await self._look(listener)
                    self._heard_since_look = 0
                    self._tell()
                    await asyncio.sleep(self._interval_s)
            finally:
                self.sight = None
                self._happenings.clear()  # what comes until somebody looks again is not heard
                await listener.close()

    async def _look(self, listener: EventListener) -> Snapshot:
        queues = [Queue(name, None, None) for name in self.queues]
        is_answering = True
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                for index, name in enumerate(self.queues):
                    if found := await listener.look(name):
                        queues[index] = Queue(name, found.waiting, found.consumers)
        except TimeoutError:
            is_answering = False
        is_connected = is_answering and listener.is_open
        return Snapshot(time(), self._since, is_connected, tuple(queues), self._skipped)

    def _tell(self) -> None:
        seen, self._seen = self._seen, asyncio.Event()
        seen.set()

    def _wants(self) -> bool:
        self._heard_since_look += 1
        if self._heard_since_look <= EVENTS_PER_LOOK:
            return True
        self._skipped += 1
        return False

    def _takes(self) -> Listeners:
        return {
            LoginSucceeded: self._note_user,
            LoginFailed: self._note_user,
            SessionRevoked: self._note_user,
            ProductAdded: self._note_product,
            ProductPriceChanged: self._note_product,
            ProductRemoved: self._note_product,
        }

    def _note_user(
        self, received: ReceivedEvent[LoginSucceeded | LoginFailed | SessionRevoked]
    ) -> None:
        user_id = received.event.user_id
        self._note(received.event, None if user_id is None else f"user {user_id}")

    def _note_product(
        self, received: ReceivedEvent[ProductAdded | ProductPriceChanged | ProductRemoved]
    ) -> None:
        self._note(received.event, f"product {received.event.product_id}")

    def _note(self, event: Event, subject: str | None) -> None:
        self._happenings.append(RecentEvent(next(self._numbers), time(), event.name, subject))
