"""uvicorn, with a word to the application before it waits for open responses to end."""

import resource
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import uvicorn

OTHER_FILES = 128  # that a process has open beside its clients' connections
STARTUP_FAILURE = 3  # as uvicorn itself exits


class Server(uvicorn.Server):
    """Calls ``on_stop`` first when it is told to stop; streams end only by that."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def run(
    application: Any, *, on_stop: Callable[[], None], fds: Iterable[int] = (), **settings: Any
) -> None:
    """Serve until a signal comes, as ``uvicorn.run`` does; exit when it cannot start.

    ``fds`` are open sockets to listen on, instead of a host and a port.
    """
    server = Server(uvicorn.Config(application, **settings), on_stop=on_stop)
    with suppress(KeyboardInterrupt):
        server.run([socket.socket(fileno=fd) for fd in fds] or None)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def allow_connections(wanted: int) -> int:
    """Raise our limit of open files to that many connections; return how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files - OTHER_FILES
