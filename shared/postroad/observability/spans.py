"""Spans: what took how long, within a trace. They are recorded where there is a collector only.

Whoever begins one asks ``recorder()`` first: without a collector that is one look at a variable,
and nothing of OpenTelemetry is even imported.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from postroad.observability.trace_context import TraceContext

Attributes = Mapping[str, str | int]


class Kind(StrEnum):
    """OpenTelemetry's kinds of span, but the one that we have no use for."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """Something that has begun; ``context`` is what others name as their parent."""

    @property
    def context(self) -> TraceContext: ...

    def end(self, *, error: str | None = None, attributes: Attributes | None = None) -> None:
        """Say that it is over, and how it failed if it did."""


class Recorder(Protocol):
    """Where spans go; ``postroad.observability.otel`` has the one there is."""

    def begin(
        self,
        kind: Kind,
        name: str,
        *,
        parent: TraceContext | None,
        attributes: Attributes,
        link: TraceContext | None = None,
    ) -> Span:
        """Begin a span; without a parent it begins a trace."""


_recorder: Recorder | None = None


def recorder() -> Recorder | None:
    """Give where spans go in this process; none when nobody wants any."""
    return _recorder


def record_with(new: Recorder | None) -> None:
    """Choose where spans go."""
    global _recorder  # noqa: PLW0603  # one for a process, as logging has
    _recorder = new
