"""Deliveries being worked on: their tasks, the threads of plain handlers, and how it all ends."""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import structlog

from postroad.broker.interfaces import Consumer

log = structlog.get_logger()


class InFlight:
    """What one consumer's deliveries are doing; each begins once and ends once."""

    def __init__(self, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="handler")
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def unsettled(self) -> int:
        """Count the deliveries that have begun and not ended."""
        return self._unsettled

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Work on a delivery until ``end`` says that it is settled."""
        self._unsettled += 1
        self._idle.clear()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Note that a delivery is settled."""
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()

    async def run(self, handler: Callable[[Any], Any], message: object) -> Any:
        """Run a handler: ``async def`` on the loop, a plain one in a thread."""
        if _is_async(handler):
            return await cast(Awaitable[Any], handler(message))
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, context.run, handler, message
        )

    async def drain(self, consumer: Consumer, timeout_s: float) -> None:
        """Take no more deliveries, finish those under way, and leave the rest to others."""
        try:
            async with asyncio.timeout(timeout_s):
                await consumer.stop_deliveries()
                if self._unsettled:
                    log.info("draining", deliveries=self._unsettled)
                await self._idle.wait()
        except TimeoutError:
            log.warning("not drained in time", deliveries=self._unsettled, timeout_s=timeout_s)
        for task in self._tasks:
            task.cancel()
        await consumer.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_async(handler: Callable[[Any], Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler)
