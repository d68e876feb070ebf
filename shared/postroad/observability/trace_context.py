"""Which trace something belongs to: the W3C Trace Context, read and made by hand.

It comes by HTTP, goes on in the headers of messages, and from there to whatever is asked upstream.
Nobody signs it, so nothing is decided by it: what is not well formed is as if it were not there.
With or without a collector every line of the log has its trace id.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
TRACESTATE_MAX = 512  # W3C Trace Context section 3.3.1.5: at least so much is to be passed on
_TRACEPARENT_MAX = 256  # of a version yet to come; ours has 55
_MEMBERS_MAX = 32
_HEAD = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")


class TraceContext(NamedTuple):
    """A place in a trace: ``00-<trace id>-<span id>-<flags>``, in lower-case hexadecimal."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    def write(self, headers: MutableMapping[str, Any]) -> None:
        """Add it to the headers of a message or a request."""
        headers[TRACEPARENT] = self.traceparent
        if self.tracestate:
            headers[TRACESTATE] = self.tracestate


current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)
"""The place in a trace of what is being done now."""


def new_trace() -> TraceContext:
    """Begin a trace. Nobody has recorded it so far, hence the flags (section 3.2.2.5)."""
    ids = os.urandom(24).hex()
    return TraceContext(f"00-{ids[:32]}-{ids[32:]}-00")


def ongoing_trace() -> TraceContext:
    """Give the trace of what is being done now, or begin one."""
    return current_trace.get() or new_trace()


def read_trace(headers: Mapping[str, Any]) -> TraceContext | None:
    """Read where a message or a request belongs; none when it does not say, or not properly."""
    parent = headers.get(TRACEPARENT)
    if parent is None:
        return None
    return parse(parent, headers.get(TRACESTATE))


def parse(parent: object, state: object = None) -> TraceContext | None:
    """Read the two values; a state that is not well formed is left out by itself."""
    if not isinstance(parent, str) or not _is_traceparent(parent):
        return None
    has_state = isinstance(state, str) and _is_tracestate(state)
    return TraceContext(f"00{parent[2:55]}", str(state) if has_state else "")


def trace_ids(**traces: TraceContext | None) -> dict[str, str]:
    """Name traces for the log, ``cause_trace`` as ``cause_trace_id``; those that there are."""
    return {f"{name}_id": trace.trace_id for name, trace in traces.items() if trace is not None}


def _is_traceparent(text: str) -> bool:
    """Take later versions for what they begin with (section 4.3)."""
    if len(text) > 55 and (text[:2] == "00" or text[55] != "-" or len(text) > _TRACEPARENT_MAX):
        return False
    return _HEAD.match(text) is not None


def _is_tracestate(text: str) -> bool:
    members = [member.strip(" \t") for member in text.split(",")]
    return (
        0 < len(text) <= TRACESTATE_MAX
        and len(members) <= _MEMBERS_MAX
        and all(_MEMBER.fullmatch(member) for member in members if member)
    )
