"""What child processes write: read line by line, so that the lines of several do not mix."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

LINE_MAX_BYTES = 1024 * 1024
_PIPE_BYTES = 1024 * 1024  # so that nobody waits for us while we are busy; pipe(7)
_F_SETPIPE_SZ = 1031  # fcntl(2)

Take = Callable[[bytes], None]


class _Lines(asyncio.Protocol):
    """Hands on whole lines, with their ends."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._rest = b""
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._take(whole + newline)
        if len(self._rest) > LINE_MAX_BYTES:
            self._take(self._rest + b"\n")
            self._rest = b""

    def connection_lost(self, _: Exception | None) -> None:
        if self._rest:
            self._take(self._rest + b"\n")
        if not self.ended.done():
            self.ended.set_result(None)


async def open_pipe(take: Take) -> tuple[int, "asyncio.Future[None]"]:
    """Give a descriptor to write to, which the caller closes, and when all of it has been read.

    Raises:
        OSError: there are too many files open.
    """
    reading, writing = os.pipe()
    with suppress(OSError):  # more than this user may have; then the usual size has to do
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_BYTES)
    loop = asyncio.get_running_loop()
    _, lines = await loop.connect_read_pipe(lambda: _Lines(take), os.fdopen(reading, "rb", 0))
    return writing, lines.ended
