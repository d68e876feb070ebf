"""Watching whether anybody listens: a call to a service without workers fails at once."""

import asyncio
from collections.abc import Iterable

from postroad.broker.interfaces import ReplyConsumer
from postroad.topology.names import rpc_queue

WATCH_INTERVAL_S = 0.5


class ServiceWatch:
    """Asks the broker, again and again, which of some services have workers."""

    def __init__(self, services: Iterable[str], replies: ReplyConsumer) -> None:
        self.listening: dict[str, bool | None] = dict.fromkeys(services)  # none: not known
        self._replies = replies
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def silent_services(self) -> list[str]:
        """Name the services of which no worker is known to listen."""
        return [name for name, listening in self.listening.items() if not listening]

    async def _watch(self) -> None:
        while self.listening:
            for service in self.listening:
                count = await self._replies.consumers(rpc_queue(service))
                self.listening[service] = None if count is None else count > 0
            await asyncio.sleep(WATCH_INTERVAL_S)
