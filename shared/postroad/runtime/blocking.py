"""Calling services from code that is not ``async``: scripts, Flask, Django.

    with BlockingClient() as client:
        page = client.call(ListProducts(limit=5))

A web application makes one when it is loaded, without ``with``, and shares it.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from threading import Lock, Thread, main_thread
from typing import Self

from postroad.contracts.base import ReplyT, Request
from postroad.messaging.client import Client
from postroad.runtime.connect import connect
from postroad.security.access_tokens import AccessToken
from postroad.settings import MessagingSettings

Opening = Callable[[], AbstractAsyncContextManager[Client]]

# Threads of a process of which we are a fork. Their loops share their files with the parent's, so
# that to tidy them up here would disturb the parent.
_not_ours: list["_ClientThread"] = []


class BlockingClient:
    """Calls services with one service's identity; safe to share by all threads.

    It connects at its first call, in a thread of its own, and again in each process that is
    forked: a server may load the application first and fork its workers afterwards.
    """

    def __init__(
        self,
        settings: MessagingSettings | None = None,
        *,
        connect: Callable[
            [MessagingSettings | None], AbstractAsyncContextManager[Client]
        ] = connect,
    ) -> None:
        """Make a client, not yet connected; the settings are the environment's by default."""
        self._opening = partial(connect, settings)
        self._lock = Lock()
        self._thread: _ClientThread | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        self._started().client.result()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; calls under way in other threads end as ``OutcomeUnknown``."""
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None and thread.pid == os.getpid():
            thread.end()

    def call(
        self,
        request: Request[ReplyT],
        *,
        timeout_s: float | None = None,
        user: AccessToken | str | None = None,
        correlation_id: str | None = None,
    ) -> ReplyT:
        """Send a request and wait for its reply; see ``Client.call``, also for what it raises.

        The first call raises what ``connect`` does, too, and ``RuntimeError`` once the main thread
        has ended: a thread that goes on after it, or ``atexit``, needs a client that is connected.
        """
        thread = self._started()
        client = thread.client.result()  # connected, or given up for the moment
        call = client.call(request, timeout_s=timeout_s, user=user, correlation_id=correlation_id)
        with self._lock:
            if self._is_closed:
                call.close()
                raise RuntimeError("the client is closed")
            reply = asyncio.run_coroutine_threadsafe(call, thread.loop)
        try:
            return reply.result()
        except BaseException:  # Ctrl-C, too: nobody waits any more
            reply.cancel()
            raise

    def _started(self) -> "_ClientThread":
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            if self._thread is not None and self._thread.pid != os.getpid():
                _not_ours.append(self._thread)
                self._thread = None
            if self._thread is None or self._thread.has_failed:
                if not main_thread().is_alive():  # no new thread, nor a look-up of a host name
                    raise RuntimeError("too late to connect: the main thread has ended")
                self._thread = _ClientThread(self._opening)
            return self._thread


class _ClientThread:
    """A thread with an event loop, in which a client lives."""

    def __init__(self, opening: Opening) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.client: Future[Client] = Future()
        self._opening = opening
        self._stop = asyncio.Event()
        self._thread = Thread(target=self._run, name="postroad client", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether there is no client, and will be none."""
        return self.client.done() and self.client.exception() is not None

    def end(self) -> None:
        """Close the client, and wait until that is done."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._hold())

    async def _hold(self) -> None:
        try:
            async with self._opening() as client:
                self.client.set_result(client)
                await self._stop.wait()
        except BaseException as error:
            if self.client.done():
                raise
            self.client.set_exception(error)
        await asyncio.sleep(0)  # calls that have just been ended say so before the loop goes
