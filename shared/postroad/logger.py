"""Loggers of the modules that run in other teams' processes, too."""

import logging
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a module's logger: structlog's where the process configured it, else ``logging``'s.

    Structlog by itself would print to standard output, which is the process's own.
    """
    return cast(FilteringBoundLogger, _Logger(name))


class _Logger:
    """Chooses anew for each line: a process may configure structlog after it imported us."""

    def __init__(self, name: str) -> None:
        self._structured = structlog.get_logger()
        self._standard = structlog.wrap_logger(
            logging.getLogger(name),
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[structlog.stdlib.filter_by_level, _as_text],
            cache_logger_on_first_use=True,
        )

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whatever a logger has
        return getattr(self._structured if structlog.is_configured() else self._standard, method)


def _as_text(_logger: object, _method: str, event: EventDict) -> str:
    fields = "".join(f" {name}={value}" for name, value in event.items() if name != "event")
    return f"{event['event']}{fields}"
