"""A TCP proxy that can also stop for a while: what is sent meanwhile arrives afterwards."""

import asyncio

from tests.support import proxy


class Proxy(proxy.Proxy):
    """Passes on what comes to its own port, until it is told otherwise, or to wait."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._flows = asyncio.Event()
        self._flows.set()
        self.held_bytes = 0

    def pause(self) -> None:
        """Hold back all that comes from now on."""
        self._flows.clear()

    def resume(self) -> None:
        """Pass on what was held back, and what follows."""
        self._flows.set()

    async def pass_on(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        self.held_bytes += len(data)
        await self._flows.wait()
        self.held_bytes -= len(data)
        await super().pass_on(sink, data)
