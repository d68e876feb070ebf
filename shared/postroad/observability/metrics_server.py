"""A process's numbers for Prometheus, at ``/metrics`` on a port of their own.

The port is not for the world: it is on loopback unless ``METRICS_HOST`` says otherwise.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus

import structlog

from postroad.extras import needs
from postroad.observability.metrics import Metric
from postroad.settings import MetricsSettings

log = structlog.get_logger()

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEAD_MAX_BYTES = 16 * 1024
CONNECTIONS_MAX = 16  # who asks without end takes no files that the process needs
PATIENCE_S = 10.0  # Prometheus' own, by default


@asynccontextmanager
async def serving_metrics(
    settings: MetricsSettings, metrics: Iterable[Metric]
) -> AsyncIterator[None]:
    """Serve metrics for as long as the context lasts, if there is a port to serve them on.

    On the event loop, so that a process whose loop is stuck has no metrics and is seen to be down.

    Raises:
        SystemExit: the port cannot be listened on, or Prometheus' client is not installed.
    """
    if settings.port is None:
        yield
        return
    answer = partial(_answer, _reader_of(metrics), {})
    try:
        server = await asyncio.start_server(
            answer, settings.host, settings.port, limit=HEAD_MAX_BYTES
        )
    except OSError as error:
        raise SystemExit(f"cannot start: METRICS_PORT: {error.strerror}") from None
    log.info("metrics served", host=settings.host, port=server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()


def _reader_of(metrics: Iterable[Metric]) -> Callable[[], bytes]:
    try:
        with needs("metrics"):
            from postroad.observability.prometheus import reader_of  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SystemExit(f"cannot start: METRICS_PORT: {error}") from None
    return reader_of(metrics)


async def _answer(
    read: Callable[[], bytes],
    open_now: dict[asyncio.StreamWriter, None],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Answer one request, and close: who asks does so every few seconds.

    Beyond the most connections, the oldest gives way.
    """
    open_now[writer] = None
    if len(open_now) > CONNECTIONS_MAX:
        oldest = next(iter(open_now))
        del open_now[oldest]
        oldest.transport.abort()
    try:
        with suppress(
            TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError
        ):
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(read, head))
                writer.close()
                await writer.wait_closed()
    finally:
        open_now.pop(writer, None)
        writer.transport.abort()  # closing waits for a client that does not read


async def _response(read: Callable[[], bytes], head: bytes) -> bytes:
    method, _, target = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if method != "GET" or target.partition(" ")[0].partition("?")[0] != PATH:
        return _write(HTTPStatus.NOT_FOUND, b"it is GET /metrics\n")
    return _write(HTTPStatus.OK, await asyncio.to_thread(read))  # some of it may ask a database


def _write(status: HTTPStatus, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
