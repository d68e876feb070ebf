"""Asking a running `postroad up` to do something, by a Unix socket in its state folder.

A request is a line of JSON, and so is its answer.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

_TIMEOUT_S = 60.0  # longer than a process may take to start

Message = dict[str, Any]
Handle = Callable[[Message], Awaitable[Message]]


@asynccontextmanager
async def listening(path: Path, handle: Handle) -> AsyncIterator[None]:
    """Answer requests for as long as the context lasts."""
    server = await asyncio.start_unix_server(partial(_answer, handle), sock=_bound(path))
    try:
        yield
    finally:
        server.close()
        _forget(path)


def ask(path: Path, request: Message) -> Message:
    """Send a request and return its answer.

    Raises:
        OSError: nobody answers there.
    """
    with socket.socket(socket.AF_UNIX) as asking, _short(path) as address:
        asking.settimeout(_TIMEOUT_S)
        asking.connect(address)
        with asking.makefile("rwb") as stream:
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            line = stream.readline()
    if not line:
        raise ConnectionResetError(None, "the system stopped meanwhile")
    answer: Message = json.loads(line)
    return answer


def _bound(path: Path) -> socket.socket:
    _forget(path)  # a run that was killed left it
    listener = socket.socket(socket.AF_UNIX)
    with _short(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    return listener


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _answer(
    handle: Handle, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        if line := await reader.readline():
            answer = await handle(json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    except (OSError, ValueError) as error:  # it has gone, or is no client of ours
        log.warning("request not answered", error=str(error))
    finally:
        writer.close()


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Return a short path to a socket: unix(7) allows 107 characters, fewer than folders have."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
