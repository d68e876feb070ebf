"""TCP proxies that can also stop for a while: what is sent meanwhile arrives afterwards."""

import asyncio
from collections.abc import Sequence

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


class Line:
    """A program's way to the brokers: a proxy before each node, all disturbed together."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._proxies = [Proxy(port) for port in ports]

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self._proxies]

    async def open(self) -> None:
        for each in self._proxies:
            await each.open()

    async def shut(self) -> None:
        for each in self._proxies:
            await each.shut()

    def cut(self) -> None:
        for each in self._proxies:
            each.cut()

    def stall(self) -> None:
        for each in self._proxies:
            each.stall()

    def pause(self) -> None:
        for each in self._proxies:
            each.pause()

    def resume(self) -> None:
        for each in self._proxies:
            each.resume()
