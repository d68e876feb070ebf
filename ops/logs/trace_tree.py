"""One request and what it set off, put together from the lines that processes log.

A request's own lines share its trace id. Each event and each job it caused has a trace of its own,
whose line names the one that caused it (docs/decisions/0018-traces.md).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ops.logs.lines import Line

KINDS = ("http", "request", "work", "event", "late request")  # canonical lines, by their event
_LONGEST_MS = 1e12
_EDGE = "bridge"  # the service whose requests are its "http" lines


@dataclass(slots=True)
class Step:
    """What one process did: ``began_ms`` after the first one took its part up, or it was sent."""

    kind: str
    what: str
    service: str
    outcome: str
    trace_id: str
    cause_trace_id: str | None
    caller: str | None
    began_ms: float
    waited_ms: float  # in a queue before that
    took_ms: float
    upstream_ms: float | None
    children: list["Step"] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Give it and what is below it."""
        return {
            "kind": self.kind,
            "what": self.what,
            "service": self.service,
            "outcome": self.outcome,
            "trace_id": self.trace_id,
            "began_ms": round(self.began_ms, 2),
            "queue_ms": self.waited_ms,
            "duration_ms": self.took_ms,
            "upstream_ms": self.upstream_ms,
            "children": [child.to_json() for child in self.children],
        }


def find_steps(lines: Iterable[Line], wanted: str) -> list[Step]:
    """Find the steps of a request, by its id or by a trace id, in the order in which they began."""
    known = [line.fields for line in lines if line.fields and line.fields.get("event") in KINDS]
    ids = {str(fields.get("request_id")) for fields in known if fields.get("trace_id") == wanted}
    steps: list[Step] = []
    for fields in known:
        if str(fields.get("request_id")) in {wanted, *ids}:
            with suppress(KeyError, TypeError, ValueError):  # another program's line: none of ours
                steps.append(_step(fields))
    first_ms = min((step.began_ms - step.waited_ms for step in steps), default=0.0)
    for step in steps:
        step.began_ms -= first_ms
    return sorted(steps, key=lambda step: step.began_ms)


def build_tree(steps: list[Step]) -> list[Step]:
    """Hang each step below the one that caused it; those without one are given."""
    roots: list[Step] = []
    for step in steps:
        causes = (other for other in steps if _is_cause(other, step) and not _is_below(step, other))
        parent = next(causes, None)
        (roots if parent is None else parent.children).append(step)
    return roots


def _is_cause(one: Step, other: Step) -> bool:
    """Tell whether one step sent what began another, as far as names can."""
    if one is other:
        return False
    sender = _EDGE if one.kind == "http" else one.service
    if other.cause_trace_id is not None:
        return one.trace_id == other.cause_trace_id and one.kind != "http"
    return other.kind != "http" and one.trace_id == other.trace_id and sender == other.caller


def _is_below(one: Step, other: Step) -> bool:
    """Return whether `other` hangs below `one`: lines that anybody wrote may form a circle."""
    return any(child is other or _is_below(child, other) for child in one.children)


def _step(fields: dict[str, Any]) -> Step:
    took_ms = _ms(fields.get("duration_ms", 0.0))
    ended_ms = datetime.fromisoformat(fields["time"]).timestamp() * 1000
    upstream_ms = fields.get("upstream_ms")
    what = str(fields.get("method", fields.get("name", "?")))
    if fields["event"] == "http":
        what = f"{fields['method']} {fields['path']}"
    if fields.get("attempt", 1) > 1:
        what = f"{what}, attempt {fields['attempt']}"
    return Step(
        kind=fields["event"],
        what=what,
        service=str(fields.get("service", "?")),
        outcome=str(fields.get("outcome", "?")),
        trace_id=str(fields.get("trace_id", "")),
        cause_trace_id=fields.get("cause_trace_id"),
        caller=fields.get("caller"),
        began_ms=ended_ms - took_ms,
        waited_ms=_ms(fields.get("queue_ms", 0.0)),
        took_ms=took_ms,
        upstream_ms=None if upstream_ms is None else _ms(upstream_ms),
    )


def _ms(value: str | float) -> float:
    if abs(ms := float(value)) < _LONGEST_MS:
        return ms
    raise ValueError(f"nothing takes {value} ms")
