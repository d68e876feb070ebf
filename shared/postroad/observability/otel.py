"""Spans by OpenTelemetry, sent to a collector by OTLP over HTTP. Imported only where there is one.

The SDK reads the standard variables by itself: ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_…``,
``OTEL_EXPORTER_OTLP_…``, ``OTEL_RESOURCE_ATTRIBUTES``. It sends from a thread of its own; when its
queue is full, spans are dropped and nobody waits.
"""

from dataclasses import dataclass

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import StatusCode

from postroad.ids import new_id
from postroad.observability.spans import Attributes, Kind, Span
from postroad.observability.trace_context import TraceContext
from postroad.settings import TracingSettings
from postroad.urls import is_loopback
from postroad.version import VERSION

_KINDS = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_FROM_AFAR = (Kind.SERVER, Kind.CONSUMER)  # whose parent is in another process


class OtelRecorder:
    """See ``postroad.observability.spans.Recorder``."""

    def __init__(self, service: str) -> None:
        ours = {
            "service.name": service,
            "service.namespace": "postroad",
            "service.version": VERSION,
            "service.instance.id": new_id(),
        }
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(session=_session(TracingSettings().endpoint))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._follows = isinstance(self._provider.sampler, ParentBased)
        self._tracer = self._provider.get_tracer("postroad", VERSION)

    def begin(
        self,
        kind: Kind,
        name: str,
        *,
        parent: TraceContext | None,
        attributes: Attributes,
        link: TraceContext | None = None,
    ) -> Span:
        if parent is not None and self._follows and not _is_sampled(parent):
            return Unrecorded(parent)  # as the SDK would decide, at a tenth of the price
        around = Context()
        if parent is not None:
            place = NonRecordingSpan(_place(parent, is_remote=kind in _FROM_AFAR))
            around = trace.set_span_in_context(place, around)
        span = self._tracer.start_span(
            name,
            around,
            _KINDS[kind],
            attributes,
            [Link(_place(link, is_remote=True))] if link is not None else None,
        )
        return OtelSpan(span)

    def close(self) -> None:
        """Send what there is; may take as long as the collector lets it."""
        self._provider.shutdown()


def _session(endpoint: str) -> requests.Session | None:
    """Make a session for a collector on this machine, which no proxy knows; else the SDK does."""
    if not is_loopback(endpoint):
        return None
    session = requests.Session()
    session.trust_env = False
    return session


class OtelSpan:
    """See ``postroad.observability.spans.Span``."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        place = span.get_span_context()
        self.context = TraceContext(
            f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}",
            place.trace_state.to_header(),
        )

    def end(self, *, error: str | None = None, attributes: Attributes | None = None) -> None:
        if attributes:
            self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Stands for a span that nobody wants, and passes on what came before it."""

    context: TraceContext

    def end(self, *, error: str | None = None, attributes: Attributes | None = None) -> None:
        """Do nothing."""


def _is_sampled(context: TraceContext) -> bool:
    return bool(int(context.traceparent[53:55], 16) & TraceFlags.SAMPLED)


def _place(context: TraceContext, *, is_remote: bool) -> SpanContext:
    parent = context.traceparent
    return SpanContext(
        int(parent[3:35], 16),
        int(parent[36:52], 16),
        is_remote,
        TraceFlags(int(parent[53:55], 16)),
        TraceState.from_header([context.tracestate]) if context.tracestate else None,
    )
