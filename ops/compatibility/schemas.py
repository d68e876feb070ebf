"""What one JSON schema takes that another does not.

``gaps(a, b)`` names the values that keep ``a`` and break ``b``. Read the one way it says what a
reader takes no more, read the other way what a writer may send now. It knows the part of JSON
Schema that pydantic writes for a contract.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Schema = dict[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
# whose change can only be seen, not judged
_OPAQUE = ("pattern", "format", "multipleOf", "uniqueItems", "prefixItems", "not")


class Kind(StrEnum):
    """In what respect ``a`` takes more than ``b``."""

    FIELD = "field"  # b does not know the field
    ABSENCE = "absence"  # b requires it
    TYPE = "type"
    VALUE = "value"  # of an enumeration
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Gap:
    """One respect, at one place; ``a`` and ``b`` are what stands in either schema, in words."""

    path: str
    kind: Kind
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Scope:
    """A schema within its document, in which its references are looked up."""

    schema: Schema
    schemas: Schema  # components/schemas

    def resolved(self) -> "Scope":
        schema = self.schema
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        return Scope(schema, self.schemas)

    def at(self, schema: Schema) -> "Scope":
        return Scope(schema, self.schemas).resolved()

    def alternatives(self) -> list["Scope"]:
        """Give what it may be, each of one type."""
        here = self.resolved()
        if isinstance(here.schema.get("type"), list):
            return [here.at(here.schema | {"type": each}) for each in here.schema["type"]]
        parts = here.schema.get("anyOf") or here.schema.get("oneOf")
        if parts is None:
            return [here]
        return [each for part in parts for each in here.at(part).alternatives()]


Seen = frozenset[tuple[int, int]]


def gaps(a: Scope, b: Scope, path: str = "", seen: Seen = frozenset()) -> Iterator[Gap]:
    """Find what keeps ``a`` and breaks ``b``."""
    counterparts = b.alternatives()
    for each in a.alternatives():
        fitting = [other for other in counterparts if _covers(other.schema, each.schema)]
        if not fitting:
            yield Gap(path, Kind.TYPE, _type(each.schema), _types(counterparts))
            continue
        found = [list(_gaps_of_one(each, other, path, seen)) for other in fitting]
        yield from min(found, key=len)


def _gaps_of_one(a: Scope, b: Scope, path: str, seen: Seen) -> Iterator[Gap]:
    pair = (id(a.schema), id(b.schema))
    if pair in seen:  # a schema that refers to itself: compared where it began
        return
    seen |= {pair}
    yield from _value_gaps(a.schema, b.schema, path)
    yield from _limit_gaps(a.schema, b.schema, path)
    yield from _field_gaps(a, b, path, seen)
    for name, ending in (("items", "[]"), ("additionalProperties", ".*")):
        inner_a, inner_b = a.schema.get(name), b.schema.get(name)
        if isinstance(inner_a, dict) and isinstance(inner_b, dict):
            yield from gaps(
                Scope(inner_a, a.schemas), Scope(inner_b, b.schemas), path + ending, seen
            )


def _field_gaps(a: Scope, b: Scope, path: str, seen: Seen) -> Iterator[Gap]:
    fields_a, fields_b = a.schema.get("properties", {}), b.schema.get("properties", {})
    for name, field in fields_a.items():
        inner = f"{path}.{name}" if path else name
        if name not in fields_b:
            yield Gap(inner, Kind.FIELD, "", "")
        else:
            yield from gaps(Scope(field, a.schemas), Scope(fields_b[name], b.schemas), inner, seen)
    for name in b.schema.get("required", ()):
        if name not in a.schema.get("required", ()):
            where = f"{path}.{name}" if path else name
            yield Gap(where, Kind.ABSENCE, "" if name in fields_a else "new", "")


def _value_gaps(a: Schema, b: Schema, path: str) -> Iterator[Gap]:
    values_a, values_b = _values(a), _values(b)
    if values_b is None:
        return
    if values_a is None:
        yield Gap(path, Kind.VALUE, f"any {_type(a)}", _listed(values_b))
        return
    for value in values_a:
        if value not in values_b:
            yield Gap(path, Kind.VALUE, repr(value), _listed(values_b))


def _limit_gaps(a: Schema, b: Schema, path: str) -> Iterator[Gap]:
    for names, sign in ((_LOWER, -1), (_UPPER, 1)):
        for name in names:
            if name in b and (name not in a or sign * a[name] > sign * b[name]):
                yield _limit(path, name, a, b)
    for name in _OPAQUE:
        if name in b and a.get(name) != b[name]:
            yield _limit(path, name, a, b)


def _limit(path: str, name: str, a: Schema, b: Schema) -> Gap:
    return Gap(
        path,
        Kind.LIMIT,
        f"{name} {a[name]}" if name in a else f"no {name}",
        f"{name} {b[name]}" if name in b else f"no {name}",
    )


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _covers(wide: Schema, narrow: Schema) -> bool:
    kind, other = wide.get("type"), narrow.get("type")
    return kind is None or kind == other or (kind == "number" and other == "integer")


def _type(schema: Schema) -> str:
    return str(schema.get("type", "anything"))


def _types(scopes: list[Scope]) -> str:
    return " or ".join(dict.fromkeys(_type(each.schema) for each in scopes))


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))
