"""What workers of either kind do: take deliveries, refuse strangers, run handlers, drain."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import structlog

from postroad.broker.dead_lettering import DeadLetters
from postroad.broker.interfaces import Broker, Delivery
from postroad.context import RequestContext, current_context
from postroad.contracts.errors import ServiceError
from postroad.messaging.handlers import HandlerThreads
from postroad.observability.timing import Stopwatch
from postroad.security.claims import Refused

log = structlog.get_logger()

T = TypeVar("T")
Work = Coroutine[object, object, None]


class WorkerCore:
    """Works on the deliveries of one queue, ``prefetch`` at a time.

    ``admit`` returns the work that a delivery is, none when it is settled already; the work calls
    ``end`` when it has settled. What ``admit`` refuses (``Refused``) goes to ``dead_letters``, and
    is logged as ``refused``.
    """

    def __init__(
        self,
        broker: Broker,
        dead_letters: DeadLetters,
        *,
        prefetch: int,
        admit: Callable[[Delivery, Stopwatch], Work | None],
        refused: str,
    ) -> None:
        self.queue = queue = dead_letters.queue
        self.counts: Counter[str] = Counter()
        self.unsettled = 0  # deliveries that were taken and are not settled
        self.consumer = broker.consumer(queue, prefetch=prefetch, on_delivery=self._on_delivery)
        self._admit = admit
        self._dead_letters = dead_letters
        self._refused = refused
        self.threads = HandlerThreads(prefetch)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def _on_delivery(self, delivery: Delivery) -> None:
        try:
            work = self._admit(delivery, Stopwatch())
        except Refused as refusal:
            self._refuse(delivery, refusal)
            return
        if work is not None:
            self.unsettled += 1
            self._idle.clear()
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse(self, delivery: Delivery, refusal: Refused) -> None:
        """Dead-letter what we do not trust, and answer nobody."""
        self.counts[f"refused.{refusal.reason}"] += 1
        log.warning(
            self._refused,
            reason=refusal.reason,
            detail=str(refusal),
            user_id=delivery.properties.user_id,
            message_id=delivery.properties.message_id,
        )
        self._dead_letters.take(delivery, refusal.reason)

    async def run(
        self, handler: Callable[..., Awaitable[T]], message: object, context: RequestContext
    ) -> T:
        """Run a handler in its context."""
        current_context.set(context)
        try:
            return await handler(message)
        finally:
            context.is_over = True

    async def attempt(self, handling: Awaitable[object], **log_fields: str) -> Exception | None:
        """Return the error that it ended with, if any: a bug, unless it is a ``ServiceError``."""
        try:
            await handling
        except ServiceError as error:
            return error
        except Exception as bug:
            log.exception("handler failed", **log_fields)
            return bug
        return None

    def end(self) -> None:
        """Note that a delivery is settled."""
        self.unsettled -= 1
        if not self.unsettled:
            self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Take no more deliveries, finish those under way, and leave the rest to others."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.consumer.stop_deliveries()
                if self.unsettled:
                    log.info("draining", deliveries=self.unsettled)
                await self._idle.wait()
        except TimeoutError:
            log.warning("not drained in time", deliveries=self.unsettled, timeout_s=timeout_s)
        for task in self._tasks:
            task.cancel()
        await self.consumer.close()
        self.threads.close()
