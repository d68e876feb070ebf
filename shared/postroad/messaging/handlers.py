"""The functions that a service answers with, and what they must return."""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from postroad.contracts.base import Message, Request

T = TypeVar("T")


def unwrapped(handler: Callable[..., object]) -> Callable[..., object]:
    """Return the function in a handler whose dependencies are bound by ``functools.partial``."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def no_reply(
    handler: Callable[..., object], result: object, contract: type[Request[Message]]
) -> TypeError:
    """Return the error for a result that is not its contract's reply."""
    function = unwrapped(handler)
    return TypeError(
        f"{getattr(function, '__qualname__', function)} returned {type(result).__name__}, "
        f"not {contract.reply.__name__}"
    )


class HandlerThreads:
    """Runs plain handlers, which would block the loop, in as many threads as run at a time."""

    def __init__(self, most: int) -> None:
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="handler")

    def awaitable(self, handler: Callable[..., Awaitable[T] | T]) -> Callable[..., Awaitable[T]]:
        """Return a handler as one to await: an ``async def`` as it is, a plain one in a thread."""
        if inspect.iscoroutinefunction(unwrapped(handler)):
            return cast(Callable[..., Awaitable[T]], handler)
        return functools.partial(self._run, cast(Callable[..., T], handler))

    async def _run(self, handler: Callable[..., T], message: object) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, context.run, handler, message
        )

    def close(self) -> None:
        """Begin no more handlers; those under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
