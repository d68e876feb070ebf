"""Sends an answer's head and body together.

uvicorn writes them one after the other, and uvloop sends the first at once: two calls of the system
and two wake-ups of the client for one answer.
"""

import asyncio
from typing import Any

UNSENT_MAX_BYTES = 64 * 1024  # more is sent at once, so that a slow client is noticed


class JoinedWrites:
    """A connection's transport that sends all that is written in one turn of the loop at once.

    Whatever it does not know itself is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > UNSENT_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was written, unless the connection has gone meanwhile."""
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if unsent and not self._transport.is_closing():
            self._transport.writelines(unsent)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
