"""The life of an application, as a server begins and ends it (ASGI lifespan protocol)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from http_bridge.asgi.messages import Receive, Send


async def live(
    lifespan: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send
) -> None:
    """Enter a context at the start and leave it at the end; what keeps it from that is one line."""
    await receive()
    try:
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except SystemExit as error:  # of a port that is taken, or the like
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})
