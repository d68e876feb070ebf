"""A TCP proxy before the broker, so that a test can cut connections as a network does."""

import asyncio
from contextlib import suppress

CHUNK_BYTES = 65_536


class Proxy:
    """Passes on what comes to its own port, until it is told otherwise."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Take connections; the port stays the same from the first time on."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Cut the connections there are, without a word of AMQP."""
        for stream in self._streams:
            stream.transport.abort()

    def stall(self) -> None:
        """Let nothing through on the connections there are, and keep them open."""
        for pump in self._pumps:
            pump.cancel()

    async def shut(self) -> None:
        """Cut the connections there are, and take no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:  # the broker is down, and so are we
            self._streams.discard(writer)
            writer.transport.abort()
            return
        self._streams.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                await self.pass_on(sink, data)
        self._streams.discard(sink)
        sink.transport.abort() if sink.transport.is_closing() else sink.close()

    async def pass_on(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        """Write what came from one side to the other."""
        sink.write(data)
        await sink.drain()
