"""Where a broker differs from what is generated for it: topology, policies, users and rights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from postroad.topology.definitions import Definitions
from postroad.topology.names import EVENTS_EXCHANGE, REPLIES_EXCHANGE, VHOST

IMPORT = "restart 'postroad up', which imports what is generated, or import it by hand"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be, and what to do about it."""

    check: str
    problem: str
    advice: str


Entry = dict[str, Any]
_OWN_QUEUES = ("queue amq.gen-", "queue reply.", "queue listen.")  # the last two before 0.2
_PARTS = {  # what makes an entry the same one, and what is to be the same about it
    "exchanges": (("name",), ("type", "durable", "arguments")),  # such as alternate-exchange
    "queues": (("name",), ("durable",)),
    "policies": (("name",), ("pattern", "apply-to", "priority", "definition")),
    "users": (("name",), ("tags", "limits")),
    "permissions": (("user",), ("configure", "write", "read")),
    "topic_permissions": (("user", "exchange"), ("write", "read")),
}
_KINDS = {
    "exchanges": "exchange",
    "queues": "queue",
    "policies": "policy",
    "users": "user",
    "permissions": "permissions of",
    "topic_permissions": "topic permission of",
}


def missing_topology(wanted: Definitions, found: Definitions) -> Iterator[Finding]:
    """Find exchanges, queues and bindings that are missing or of another type, or not ours.

    A client's own queue is exclusive, and those are not exported.
    """
    advice = "find out who made it; then delete it"
    for kind in ("exchanges", "queues"):
        yield from _changed("topology", kind, wanted, found, IMPORT)
        yield from _strange("topology", kind, wanted, found, advice)
    types = {each["name"]: each.get("type") for each in _ours(found, "queues")}
    for queue in wanted["queues"]:
        name, wants = queue["name"], queue["arguments"]["x-queue-type"]
        if types.get(name) not in (None, wants):
            advice = "empty it, delete it, and restart 'postroad up'"
            yield Finding("topology", f"the queue {name} is {types[name]}, not {wants}", advice)
    bound, known = {_binding(each) for each in _ours(found, "bindings")}, set(types)
    expected = {_binding(each): each for each in wanted["bindings"]}
    for key, binding in expected.items():
        if key not in bound and binding["destination"] in known:
            yield Finding("topology", f"{_named(key)} is missing", IMPORT)
    for key in sorted(bound - expected.keys()):
        if _is_clients_own(key):
            continue
        yield Finding(
            "topology", f"{_named(key)} is not one of ours", "find out who made it; then unbind it"
        )


def drifted_policies(wanted: Definitions, found: Definitions) -> Iterator[Finding]:
    """Find policies that are missing or changed, and those that are not ours."""
    yield from _changed("policies", "policies", wanted, found, IMPORT)
    yield from _strange("policies", "policies", wanted, found, "rabbitmqctl clear_policy")


def wider_rights(wanted: Definitions, found: Definitions) -> Iterator[Finding]:
    """Find users and permissions that are not as generated: wider ones, and missing ones."""
    for kind in ("users", "permissions", "topic_permissions"):
        yield from _changed("rights", kind, wanted, found, IMPORT)
    advice = "find out who made it; then rabbitmqctl delete_user"
    yield from _strange("rights", "users", wanted, found, advice)
    yield from _strange("rights", "topic_permissions", wanted, found, advice)


def _changed(
    check: str, kind: str, wanted: Definitions, found: Definitions, advice: str
) -> Iterator[Finding]:
    names, compared = _PARTS[kind]
    there = {_key(each, names): each for each in _ours(found, kind)}
    for entry in wanted[kind]:
        key = _key(entry, names)
        what = f"{_KINDS[kind]} {' on '.join(key)}"
        if key not in there:
            yield Finding(check, f"the {what} is missing", advice)
            continue
        for field in compared:
            if there[key].get(field) != entry.get(field):
                problem = f"{field} is {there[key].get(field)!r}, not {entry.get(field)!r}"
                yield Finding(check, f"{what}: {problem}", advice)


def _strange(
    check: str, kind: str, wanted: Definitions, found: Definitions, advice: str
) -> Iterator[Finding]:
    names, _ = _PARTS[kind]
    known = {_key(each, names) for each in wanted[kind]}
    for entry in _ours(found, kind):
        if _key(entry, names) not in known:
            what = f"{_KINDS[kind]} {' on '.join(_key(entry, names))}"
            yield Finding(check, f"the {what} is not one of ours", advice)


def _ours(found: Definitions, kind: str) -> list[Entry]:
    """Give what is in our virtual host; users belong to all of them."""
    return [each for each in found.get(kind, ()) if each.get("vhost", VHOST) == VHOST]


def _key(entry: Entry, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(entry[name]) for name in names)


def _binding(entry: Entry) -> tuple[str, str, str, str]:
    arguments = str(sorted((entry.get("arguments") or {}).items()))
    destination = f"{entry['destination_type']} {entry['destination']}"
    return entry["source"], destination, entry["routing_key"], arguments


def _is_clients_own(binding: tuple[str, str, str, str]) -> bool:
    """Say whether a client has bound a queue of its own, as each does when it connects."""
    source, queue, key, _ = binding
    if not queue.startswith(_OWN_QUEUES):
        return False
    return source == EVENTS_EXCHANGE or (source == REPLIES_EXCHANGE and key.startswith("reply."))


def _named(binding: tuple[str, str, str, str]) -> str:
    source, destination, key, _ = binding
    return f"the binding of the {destination} to {source}" + (f" by {key}" if key else "")


Comparison = Callable[[Definitions, Definitions], Iterator[Finding]]
COMPARISONS: dict[str, Comparison] = {
    "topology": missing_topology,
    "policies": drifted_policies,
    "rights": wider_rights,
}
