"""Logging: one JSON object a line for machines, coloured text for people, on standard output."""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from shared.messaging.call import current_call
from shared.settings import LogSettings


def configure_logging(service: str, settings: LogSettings) -> None:
    """Set structlog up for this process; the standard library's records take the same way."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        _service_name(service),
        _request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    renderer: list[Processor]
    factory: Any
    if settings.format == "json":
        renderer = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
        factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        renderer = [_console()]
        factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer()
                if settings.format == "json"
                else _console(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # pika logs each attempt to connect as errors; connection.py says the same in one line
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), timestamp_key="time")


def _service_name(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _request_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the id of the request being answered, so that every line of a request can be found."""
    if "request_id" not in event and (call := current_call.get(None)):
        event["request_id"] = call.correlation_id
    return event


def _to_json(event: EventDict, **_options: Any) -> bytes:
    return orjson.dumps(event, default=str)
