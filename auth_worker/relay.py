"""Takes events from the outbox to the broker, each at least once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import uniform
from typing import Literal, Protocol, TypeVar

import structlog

from auth_worker.outbox import OutboxReader, StoredEvent

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class EventPublisher(Protocol):
    """The way to the broker."""

    async def publish(
        self,
        kind: Literal["event"],
        name: str,
        body: bytes,
        *,
        message_id: str,
        correlation_id: str,
    ) -> None:
        """Publish an event, and return once the broker has it.

        Raises:
            Exception: any at all says that it may not have it.
        """


class Relay:
    """Sends what is in the outbox, in order, until cancelled; one of them for each replica.

    Of several replicas each sends what it has claimed, so that the order holds within a claim
    only. Whatever was not confirmed is sent again, under the same message id.
    """

    def __init__(
        self,
        reader: OutboxReader,
        publisher: EventPublisher,
        *,
        batch: int = 100,
        batch_timeout_s: float = 15.0,
        poll_s: float = 1.0,
    ) -> None:
        """``batch_timeout_s`` must be less than the reader's lease."""
        self._reader = reader
        self._publisher = publisher
        self._batch = batch
        self._batch_timeout_s = batch_timeout_s
        self._poll_s = poll_s
        self._failures = 0
        self._wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        # one thread: what was begun when we are cancelled ends before what is claimed is given back
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="relay")

    def notify(self) -> None:
        """Say from any thread that there is something to send; it is looked for at once."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wanted.set)

    async def run(self) -> None:
        """Send until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._wanted.clear()
                if await self._send_what_there_is():
                    await self._wait(self._poll_s)
                else:
                    await asyncio.sleep(self._pause_s())
        finally:
            with suppress(Exception):  # if need be, the lease ends by itself
                await self._in_thread(lambda: self._reader.settle([]))
            self._thread.shutdown(wait=False)

    async def _send_what_there_is(self) -> bool:
        """Send until the outbox is empty; false when the broker or the database failed."""
        try:
            while events := await self._in_thread(lambda: self._reader.claim(self._batch)):
                await self._send(events)
        except Exception as error:  # noqa: BLE001 - whatever fails, the relay has to go on
            self._failures += 1
            log.warning("events not sent", reason=str(error) or type(error).__name__)
            return False
        self._failures = 0
        return True

    async def _send(self, events: list[StoredEvent]) -> None:
        sent: list[str] = []
        try:
            async with asyncio.timeout(self._batch_timeout_s):
                for event in events:
                    await self._publisher.publish(
                        "event",
                        event.name,
                        event.body,
                        message_id=event.event_id,
                        correlation_id=event.correlation_id,
                    )
                    sent.append(event.event_id)
        finally:
            await self._in_thread(lambda: self._reader.settle(sent))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _wait(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._wanted.wait(), timeout_s)
        except TimeoutError:
            return

    def _pause_s(self) -> float:
        """Wait twice as long after each failure, and not all replicas equally long."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 16))
        return uniform(longest / 2, longest)  # noqa: S311 - it keeps no secret
