"""The functions that a service answers with, and what they must return."""

import functools
from collections.abc import Callable

from postroad.contracts.base import Message, Request


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
