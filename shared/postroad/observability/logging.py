"""Logging: one JSON object a line for machines, coloured text for people, on standard output."""

import io
import json
import logging
import os
import sys
from typing import BinaryIO, TextIO, cast

import structlog
from structlog.dev import Column, KeyValueColumnFormatter, LogLevelColumnFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from postroad.context import current_context
from postroad.extras import needs
from postroad.observability.trace_context import current_trace
from postroad.plain_text import plain, plain_lines
from postroad.settings import LogSettings

with needs("worker"):
    import orjson

BOLD, DIM, RED, YELLOW, CYAN, PLAIN = (
    *("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m"),
    "\x1b[0m",
)


def configure_logging(
    service: str, settings: LogSettings, *, output: io.RawIOBase | None = None
) -> None:
    """Set structlog up for this process; the standard library's records take the same way.

    JSON may go elsewhere than to standard output. What cannot be written in the encoding of either
    is escaped: a line of the log is no reason for a request to fail.
    """
    if sys.stdout is None:  # it was closed when we started
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # to stay open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    is_json = settings.format == "json"
    shared: list[Processor] = [
        _service_name(service),
        _ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(
            fmt="iso" if is_json else "%H:%M:%S", utc=is_json, key="time"
        ),
    ]
    rendering: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_to_json)
        if is_json
        else rendering_for_people(has_colours=sys.stdout.isatty()),
    ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.BytesLoggerFactory(cast(BinaryIO, output or sys.stdout.buffer))
            if is_json
            else structlog.PrintLoggerFactory(sys.stdout)
        ),
        cache_logger_on_first_use=True,
    )
    stream = (
        sys.stdout
        if output is None
        else io.TextIOWrapper(
            cast(BinaryIO, output), "utf-8", "backslashreplace", write_through=True
        )
    )
    _configure_standard_library(shared, rendering, stream)


def _configure_standard_library(
    shared: list[Processor], rendering: list[Processor], stream: TextIO
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *rendering[:-1],
                _as_text(rendering[-1]),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # pika logs each attempt to connect as errors; connection.py says the same in one line
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def rendering_for_people(*, has_colours: bool) -> Processor:
    """Render time, service, event, then what else there is, in the order it was given."""

    def style(code: str) -> str:
        return code if has_colours else ""

    def column(code: str, width: int = 0) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(
            key_style=None, value_style=style(code), reset_style=style(PLAIN), value_repr=str,
            width=width,
        )  # fmt: skip

    levels = {
        "debug": style(DIM), "info": "", "warning": style(YELLOW),
        "error": style(RED), "critical": style(RED),
    }  # fmt: skip
    render = structlog.dev.ConsoleRenderer(
        sort_keys=False,
        columns=[
            Column("time", column(DIM)),
            Column("service", column(CYAN, width=8)),
            Column("level", LogLevelColumnFormatter(levels, style(PLAIN), width=7)),
            Column("event", column(BOLD)),
            Column(
                "",
                KeyValueColumnFormatter(
                    key_style=style(DIM),
                    value_style="",
                    reset_style=style(PLAIN),
                    value_repr=_quoted,
                ),
            ),
        ],
    )

    def render_plain(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return render(logger, method, {plain(name): _plain(name, event[name]) for name in event})

    return render_plain


def _plain(name: str, value: object) -> str:
    """Make a value harmless; only what is of several lines by nature stays so, and is indented."""
    if name in ("exception", "stack"):
        return "\n".join(f"  {line}" for line in plain_lines(str(value)).split("\n"))
    return plain(str(value))


def _quoted(value: object) -> str:
    """Show where a value ends: one with a space in it could look like several fields."""
    text = str(value)
    return '"' + text.replace('"', r"\"") + '"' if " " in text else text


def _service_name(service: str) -> Processor:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _ids(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add which request is being answered and its trace, so that all of its lines can be found."""
    if "request_id" not in event and (call := current_context.get(None)):
        event["request_id"] = call.correlation_id
    if "trace_id" not in event and (trace := current_trace.get()):
        event["trace_id"] = trace.trace_id
    return event


def _to_json(event: EventDict, **_options: object) -> bytes:
    try:
        rendered = orjson.dumps(event, default=str)
    except TypeError:  # a file's name that is not UTF-8, which json escapes
        return json.dumps(event, default=str).encode()
    if rendered.isascii() and b"\x7f" not in rendered:
        return rendered
    return plain(rendered.decode()).encode()  # a terminal may show it, and obeys some of the rest


def _as_text(render: Processor) -> Processor:
    def to_text(logger: object, method: str, event: EventDict) -> str:
        rendered = render(logger, method, event)
        return rendered.decode() if isinstance(rendered, bytes) else str(rendered)

    return to_text
