"""The least that an HTTP server in Python can do: the same bytes from a bare ASGI application."""

import os
from pathlib import Path
from typing import Any

BODY = Path(os.environ["PEER_PAGE"]).read_bytes()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
]


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
