"""A response that is sent part by part, such as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus

from http_bridge.asgi.messages import Headers, Receive, Send, with_usual

GOODBYE_S = 1.0  # for the end of a stream to leave; who reads nothing at all is cut off


@dataclass(slots=True)
class Stream:
    """A response sent part by part, until the parts end, the client goes or the time is over.

    The next part is asked for when the last one has left: a slow client makes nothing pile up.
    """

    parts: AsyncGenerator[bytes, None]
    receive: Receive
    headers: Headers
    ends_after_s: float
    status: int = HTTPStatus.OK

    async def send(self, send: Send, request_id: str) -> None:
        """Send it, with the headers that every response has."""
        headers = with_usual(self.headers, request_id)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        sending = asyncio.create_task(self._send_parts(send))
        leaving = asyncio.create_task(self._client_leaves())
        try:
            await asyncio.wait(
                (sending, leaving),
                timeout=self.ends_after_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()  # what went wrong is a bug of ours, and is not to be lost
        with suppress(TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), GOODBYE_S)

    async def _send_parts(self, send: Send) -> None:
        async with aclosing(self.parts) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _client_leaves(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
