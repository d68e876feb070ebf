"""Takes messages from the outbox to the broker, each at least once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import uniform
from typing import Protocol, TypeVar

import structlog

from postroad.messaging.publishing import Kind
from postroad.observability.trace_context import TraceContext
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox, OutboxReader, StoredMessage
from postroad.storage.settings import DatabaseSettings

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class NotSent(Exception):
    """The broker may not have a message; the text says why."""


class OutboxPublisher(Protocol):
    """The way to the broker."""

    async def publish(
        self,
        kind: Kind,
        name: str,
        body: bytes,
        *,
        message_id: str,
        correlation_id: str,
        trace: TraceContext | None = None,
    ) -> None:
        """Publish a message, and return once the broker has it.

        What is published first is sent first, though its confirm has not been waited for.

        Raises:
            Exception: any at all says that it may not have it.
        """


class Relay:
    """Sends what is in the outbox until cancelled; one of them for each replica.

    What it claims at a time it sends in order. Of several replicas each sends what it has
    claimed. What was not confirmed is sent again under the same message id, and so behind what
    followed it and was.
    """

    def __init__(
        self,
        reader: OutboxReader,
        publisher: OutboxPublisher,
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
            while messages := await self._in_thread(lambda: self._reader.claim(self._batch)):
                await self._send(messages)
        except Exception as error:  # noqa: BLE001 - whatever fails, the relay has to go on
            self._failures += 1
            log.warning("messages not sent", reason=str(error) or type(error).__name__)
            return False
        self._failures = 0
        return True

    async def _send(self, messages: list[StoredMessage]) -> None:
        """Send messages without waiting for each other's confirms, then settle all at once."""
        sending = [
            asyncio.create_task(
                self._publisher.publish(
                    message.kind,
                    message.name,
                    message.body,
                    message_id=message.message_id,
                    correlation_id=message.correlation_id,
                    trace=message.trace,
                )
            )
            for message in messages
        ]
        try:
            await asyncio.wait(sending, timeout=self._batch_timeout_s)
        finally:
            for task in sending:
                task.cancel()
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
            sent = [
                message.message_id
                for message, outcome in zip(messages, outcomes, strict=True)
                if outcome is None
            ]
            await self._in_thread(lambda: self._reader.settle(sent))
        if sent:
            self._failures = 0  # the broker is there, though it does not take everything now
        if failed := [outcome for outcome in outcomes if outcome is not None]:
            raise NotSent(f"{len(failed)} of {len(outcomes)}: {_reason(failed[0])}")

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


def relay_of(
    outbox: Outbox, publisher: OutboxPublisher, *, database: Database, settings: DatabaseSettings
) -> Relay:
    """Make an outbox's relay; it hears at once of what is written in this process."""
    relay = Relay(
        OutboxReader(database, outbox.table, lease_s=settings.outbox_lease_s),
        publisher,
        batch=settings.outbox_batch,
        batch_timeout_s=settings.outbox_lease_s / 2,
        poll_s=settings.outbox_poll_s,
    )
    outbox.on_written(relay.notify)
    return relay


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "not confirmed in time"
    return str(error) or type(error).__name__
