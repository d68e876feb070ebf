"""Sending spans to a collector while a process runs, if its environment names one."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from threading import Thread

import structlog

from postroad.extras import needs
from postroad.observability.spans import record_with
from postroad.settings import TracingSettings

log = structlog.get_logger()

FLUSH_TIMEOUT_S = 3.0  # on top of draining, and within what a container is given to end


@asynccontextmanager
async def exporting_spans(service: str, settings: TracingSettings) -> AsyncIterator[None]:
    """Record spans for as long as the context lasts, if there is somewhere to send them.

    A process runs without them, too: a collector that is away, or packages that are missing, are
    told in the log.
    """
    if not settings.is_wanted:
        yield
        return
    try:
        with needs("tracing"):
            from postroad.observability.otel import OtelRecorder  # noqa: PLC0415  # memory and time
        recorder = OtelRecorder(service)
    except ImportError as error:
        log.error(f"no traces: {error}")  # noqa: G004  # one sentence
        yield
        return
    except ValueError as error:  # OpenTelemetry's own variables, some of which it reads at import
        print(f"cannot start: OTEL_…: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    record_with(recorder)
    log.info("traces are exported", to=settings.endpoint)
    try:
        yield
    finally:
        record_with(None)
        await _within_time(recorder.close)


async def _within_time(close: Callable[[], None]) -> None:
    """Close in a thread for which the end of the process does not wait."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def work() -> None:
        close()
        with suppress(RuntimeError):  # the loop is gone: it took too long
            loop.call_soon_threadsafe(closed.set)

    Thread(target=work, name="last spans", daemon=True).start()
    try:
        await asyncio.wait_for(closed.wait(), FLUSH_TIMEOUT_S)
    except TimeoutError:
        log.warning("last spans not exported in time", timeout_s=FLUSH_TIMEOUT_S)
