"""Connections to the in-memory broker: they open, are cut or refused, and come back."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from postroad.broker.interfaces import ConnectionState
from postroad.broker.memory.node import MemoryNode
from postroad.logger import get_logger
from postroad.topology.rules import ChannelClosed

log = get_logger(__name__)

RECONNECT_S = 0.01


class LinkedBroker(Protocol):
    """What a connection sees of its broker."""

    node: MemoryNode
    links: "list[MemoryLink]"  # the open ones
    is_away: bool


class MemoryLink:
    """One connection: opens, is cut or refused, and comes back."""

    def __init__(self, broker: LinkedBroker, user: str) -> None:
        self.broker = broker
        self.user = user
        self.state = ConnectionState.CLOSED
        self._set_up: Callable[[], None] = nothing
        self._on_lost: Callable[[], None] = nothing
        self._opened = asyncio.Event()
        self._attempt: asyncio.Handle | None = None
        self._reason = ""  # why it was lost last

    def start(self, *, set_up: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self._set_up, self._on_lost = set_up, on_lost
        self.state = ConnectionState.CONNECTING
        self._attempt = asyncio.get_running_loop().call_soon(self._open)

    async def opened(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._opened.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def check(self, act: str, name: str) -> None:
        self.broker.node.rules.check(self.user, act, name)

    def fail(self, reason: str = "cut") -> None:
        """Lose the connection, and try again in a moment."""
        if reason != self._reason:
            log.warning("broker connection lost", user=self.user, reason=reason)
        self._reason = reason
        self._lose()
        self.state = ConnectionState.RECOVERING
        self._attempt = asyncio.get_running_loop().call_later(RECONNECT_S, self._open)

    async def close(self) -> None:
        await asyncio.sleep(0)  # what was settled just now still leaves
        self._lose()
        self.state = ConnectionState.CLOSED
        await asyncio.sleep(0)  # and what was lost is told

    def _open(self) -> None:
        try:
            if self.broker.is_away:
                raise ChannelClosed("nobody answers")
            self._set_up()
        except ChannelClosed as refusal:
            self.fail(str(refusal))
        else:
            self.broker.links.append(self)
            self.state = ConnectionState.OPEN
            self._opened.set()

    def _lose(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        if self in self.broker.links:
            self.broker.links.remove(self)
        self._opened.clear()
        self._on_lost()


def nothing() -> None: ...
