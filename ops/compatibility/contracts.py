"""What has changed between two AsyncAPI documents of ours, and whether it breaks somebody.

Two kinds of body are looked at from opposite sides. What others send to us (requests, jobs) must
be taken as before; what we send (replies, events) must be no more than its readers expect. What
AsyncAPI has no field for (`x-…`) may be missing in a document: then it is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ops.compatibility.schemas import Gap, Kind, Scope, gaps

Document = dict[str, Any]

PROBLEM = "Problem"  # the message that ends a request in an error; the same for all


class Severity(StrEnum):
    """What a change means to those who keep to the old document."""

    BREAKING = "breaking"
    WARNING = "warning"
    ADDITION = "addition"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, in one sentence."""

    severity: Severity
    sentence: str


def changes(old: Document, new: Document) -> list[Change]:
    """Compare two documents; the worst first."""
    found = [*_presence(old, new), *_problem(old, new)]
    for name in old["operations"]:
        if name in new["operations"] and _kind(old, name) == _kind(new, name):
            found += _operation(name, old, new)
    order = list(Severity)
    return sorted(found, key=lambda change: order.index(change.severity))


def breaks(found: list[Change]) -> bool:
    """Say whether any of the changes breaks somebody."""
    return any(change.severity is Severity.BREAKING for change in found)


def _presence(old: Document, new: Document) -> Iterator[Change]:
    before = {name: _kind(old, name) for name in old["operations"]}
    after = {name: _kind(new, name) for name in new["operations"]}
    for name, kind in before.items():
        if after.get(name) != kind:
            yield Change(Severity.BREAKING, f"the {kind} {name} was removed")
    for name, kind in after.items():
        if before.get(name) != kind:
            yield Change(Severity.ADDITION, f"the {kind} {name} is new")


def _problem(old: Document, new: Document) -> Iterator[Change]:
    yield from _sent("an error", _payload(old, PROBLEM), _payload(new, PROBLEM))


def _operation(name: str, old: Document, new: Document) -> Iterator[Change]:
    before, after = old["operations"][name], new["operations"][name]
    yield from _routing(name, _channel(old, before), _channel(new, after))
    if before["action"] == "send":
        yield from _sent(name, _payload(old, name), _payload(new, name))
        return
    yield from _taken(name, _payload(old, name), _payload(new, name))
    yield from _deadline(name, before, after)
    if "reply" in before:
        yield from _scope(name, before.get("x-scope"), after.get("x-scope"))
        yield from _idempotence(name, before.get("x-idempotent"), after.get("x-idempotent"))
        if "x-errors" in before and "x-errors" in after:
            yield from _errors(name, _codes(before), _codes(after))
        yield from _sent(
            f"the reply of {name}", _payload(old, _reply(before)), _payload(new, _reply(after))
        )


def _routing(name: str, before: Document, after: Document) -> Iterator[Change]:
    for what, was, now in (
        ("routing key", before["address"], after["address"]),
        ("exchange", _exchange(before), _exchange(after)),
    ):
        if was != now:
            yield Change(Severity.BREAKING, f"{name}: its {what} is {now}, and was {was}")


def _scope(name: str, was: str | None, now: str | None) -> Iterator[Change]:
    if was == now:
        return
    if now is None:
        yield Change(Severity.ADDITION, f"{name}: the user needs the scope {was} no more")
    else:
        before = f"and needed {was} before" if was else "and needed none before"
        yield Change(Severity.BREAKING, f"{name}: the user needs the scope {now}, {before}")


def _idempotence(name: str, was: bool | None, now: bool | None) -> Iterator[Change]:
    if was is None or now is None or was == now:
        return
    if was:
        yield Change(
            Severity.BREAKING,
            f"{name}: is idempotent no more, so a caller may not send it again",
        )
    else:
        yield Change(Severity.ADDITION, f"{name}: is idempotent now")


def _deadline(name: str, before: Document, after: Document) -> Iterator[Change]:
    was, now = before.get("x-timeout-s"), after.get("x-timeout-s")
    if was is not None and now is not None and now != was:
        severity = Severity.WARNING if now < was else Severity.ADDITION
        yield Change(severity, f"{name}: its usual deadline is {now:g} s, and was {was:g} s")


def _errors(name: str, before: set[str], after: set[str]) -> Iterator[Change]:
    for code in sorted(after - before):
        yield Change(Severity.WARNING, f"{name}: may end in the error {code} now")
    for code in sorted(before - after):
        yield Change(Severity.BREAKING, f"{name}: ends in the error {code} no more")


def _taken(name: str, before: Scope, after: Scope) -> Iterator[Change]:
    """Compare what we take: more of it is harmless."""
    lost = list(gaps(before, after))
    for gap in lost:
        yield Change(Severity.BREAKING, f"{name}: {_taken_no_more(gap)}")
    named = {gap.path for gap in lost if gap.kind in (Kind.FIELD, Kind.ABSENCE)}
    for gap in gaps(after, before):
        if gap.path not in named:
            yield Change(Severity.ADDITION, f"{name}: {_taken_now(gap)}")
    yield from _defaults(name, before, after)


def _sent(name: str, before: Scope, after: Scope) -> Iterator[Change]:
    """Compare what we send: less of it is harmless, but for fields."""
    for gap in gaps(after, before):
        if gap.kind is Kind.FIELD:
            yield Change(Severity.ADDITION, f"{name}: the field {gap.path} is new")
        elif gap.kind is not Kind.ABSENCE or not gap.a:
            yield Change(Severity.BREAKING, f"{name}: {_sent_now(gap)}")
    for gap in gaps(before, after):
        if gap.kind is Kind.FIELD:
            yield Change(Severity.BREAKING, f"{name}: the field {gap.path} was removed")
        elif gap.kind is not Kind.ABSENCE or not gap.a:
            yield Change(Severity.ADDITION, f"{name}: {_sent_no_more(gap)}")


def _taken_no_more(gap: Gap) -> str:
    match gap.kind:
        case Kind.FIELD:
            return f"the field {gap.path} was removed, and is ignored"
        case Kind.ABSENCE:
            return f"the field {gap.path} is {'new and ' if gap.a else ''}required"
        case Kind.TYPE:
            return f"{gap.path} takes no {gap.a} any more, only {gap.b}"
        case Kind.VALUE:
            return f"{gap.path} takes {gap.a} no more, only {gap.b}"
        case Kind.LIMIT:
            return f"{gap.path} has {gap.b}, and had {gap.a}"


def _taken_now(gap: Gap) -> str:
    match gap.kind:
        case Kind.FIELD:
            return f"the field {gap.path} is new"
        case Kind.ABSENCE:
            return f"the field {gap.path} is required no more"
        case Kind.TYPE | Kind.VALUE:
            return f"{gap.path} takes {gap.a}, too"
        case Kind.LIMIT:
            return f"{gap.path} has {gap.a}, and had {gap.b}"


def _sent_now(gap: Gap) -> str:
    match gap.kind:
        case Kind.ABSENCE:
            return f"{gap.path} may be missing"
        case Kind.TYPE | Kind.VALUE:
            return f"{gap.path} may be {gap.a}, and was {gap.b} only"
        case _:
            return f"{gap.path} has {gap.a}, and had {gap.b}"


def _sent_no_more(gap: Gap) -> str:
    match gap.kind:
        case Kind.ABSENCE:
            return f"{gap.path} is always there"
        case Kind.TYPE | Kind.VALUE:
            return f"{gap.path} is never {gap.a}"
        case _:
            return f"{gap.path} has {gap.b}, and had {gap.a}"


def _defaults(name: str, before: Scope, after: Scope) -> Iterator[Change]:
    fields = after.resolved().schema.get("properties", {})
    for field, schema in before.resolved().schema.get("properties", {}).items():
        if field in fields and "default" in schema and "default" in fields[field]:
            was, now = schema["default"], fields[field]["default"]
            if was != now:
                yield Change(
                    Severity.WARNING, f"{name}: {field} is {now!r} when not given, and was {was!r}"
                )


def _kind(document: Document, name: str) -> str:
    operation = document["operations"][name]
    if operation["action"] == "send":
        return "event"
    return "request" if "reply" in operation else "job"


def _channel(document: Document, operation: Document) -> Document:
    channel: Document = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
    return channel


def _exchange(channel: Document) -> str:
    return str(channel["bindings"]["amqp"]["exchange"]["name"])


def _payload(document: Document, message: str) -> Scope:
    components = document["components"]
    return Scope(components["messages"][message]["payload"], components["schemas"])


def _reply(operation: Document) -> str:
    """Return the name of the message that answers a request without an error."""
    names = [each["$ref"].rpartition("/")[2] for each in operation["reply"]["messages"]]
    return str(next(name for name in names if name != PROBLEM))


def _codes(operation: Document) -> set[str]:
    return {error["code"] for error in operation["x-errors"]}
