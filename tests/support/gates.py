"""A handler that waits until a test lets it through."""

import asyncio

from postroad.contracts.auth import CreateSession, Session
from tests.support.services import SESSION


class Gate:
    """A handler that waits until it is let through."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, request: CreateSession) -> Session:
        self.waiting += 1
        await self.is_open.wait()
        return SESSION


async def wait_at(gate: Gate, request: CreateSession) -> Session:
    return await gate(request)
