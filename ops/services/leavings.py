"""What a revoked service has left at the broker: its queues and exchanges, and its bindings.

A binding says of nobody who made it. Those that are none of ours go if the service's rights let
it make them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ops.local.broker import PrivateBroker
from postroad.topology.definitions import Definitions
from postroad.topology.names import REPLIES_EXCHANGE, VHOST
from postroad.topology.permissions import permissions, topic_permissions
from postroad.topology.services import Service

Kind = Literal["queue", "exchange"]
Entry = dict[str, Any]

_AT_ONCE = 50  # an argument of a program has 128 KiB at most, a name 255 bytes


@dataclass(frozen=True, slots=True)
class Thing:
    """A queue or an exchange."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"

    @property
    def erlang(self) -> str:
        """What deletes it, unless it is used, and returns 1 if it has gone."""
        if self.kind == "exchange":
            deleting = f"rabbit_exchange:delete({self.resource}, false, {_ACTOR})"
            return f"case {deleting} of ok -> 1; _ -> 0 end"
        return (
            f"case rabbit_amqqueue:lookup({self.resource}) of {{ok, Q}} -> "
            f"case rabbit_amqqueue:delete(Q, true, false, {_ACTOR}) of {{ok, _}} -> 1; _ -> 0 end; "
            "_ -> 0 end"
        )

    @property
    def resource(self) -> str:
        return f"rabbit_misc:r({_binary(VHOST)}, {self.kind}, {_binary(self.name)})"


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue or an exchange to an exchange."""

    source: Thing
    destination: Thing
    key: str
    is_plain: bool  # without arguments

    def __str__(self) -> str:
        by = f" by {self.key}" if self.key else ""
        return f"the binding of {self.destination} to {self.source.name}{by}"

    @property
    def erlang(self) -> str:
        """What removes it, with all that differ from it by their arguments alone."""
        pattern = f"{{binding, _, {_binary(self.key)}, D, A}}"
        listed = f"rabbit_binding:list_for_source({self.source.resource})"
        which = f"D =:= {self.destination.resource}, (A =:= []) =:= {str(self.is_plain).lower()}"
        removing = f"rabbit_binding:remove(B, {_ACTOR})"
        return f"begin [{removing} || {pattern} = B <- {listed}, {which}], 1 end"


Leaving = Thing | Binding


def leavings(
    name: str, service: Service, wanted: Definitions, found: Definitions
) -> Iterator[Leaving]:
    """Find what a service has left, by its name and by what its rights let it declare.

    Args:
        name: the service's.
        service: its rights.
        wanted: what there should be.
        found: what there is, as the broker exports it: without exclusive queues.
    """
    rights = permissions(name, service)
    read = {each["exchange"]: each["read"] for each in topic_permissions(name, service)}
    own_name = rf"^(reply|listen)\.{name}\."  # before 0.2 a service chose its queues' names
    own_address = rf"^reply\.{name}\."
    bound = _ours(found, "bindings")

    def addresses(queue: str) -> list[str]:
        return [
            each["routing_key"]
            for each in bound
            if (each["source"], each["destination"]) == (REPLIES_EXCHANGE, queue)
        ]

    def is_its(thing: str) -> bool:
        taken = addresses(thing)
        if re.search(own_name, thing) or any(re.search(own_address, key) for key in taken):
            return True
        return re.search(rights["configure"], thing) is not None and not taken

    gone: set[tuple[Kind, str]] = set()
    kinds: tuple[tuple[Kind, str], ...] = (("queue", "queues"), ("exchange", "exchanges"))
    for kind, plural in kinds:
        known = {each["name"] for each in wanted[plural]}
        for each in _ours(found, plural):
            if each["name"] not in known and is_its(each["name"]):
                gone.add((kind, each["name"]))
                yield Thing(kind, each["name"])
    expected = {_key(each) for each in wanted["bindings"]}
    for each in bound:
        source, key, destination = each["source"], each["routing_key"], each["destination"]
        ends = {(each["destination_type"], destination), ("exchange", source)}
        if _key(each) in expected or ends & gone or destination.startswith("amq.gen-"):
            continue
        is_address = source == REPLIES_EXCHANGE and re.search(own_address, key)
        if is_address or (
            re.search(rights["write"], destination)
            and re.search(rights["read"], source)
            and re.search(read.get(source, "^$"), key)
        ):
            there = Thing(each["destination_type"], destination)
            yield Binding(Thing("exchange", source), there, key, not each.get("arguments"))


async def delete(
    broker: PrivateBroker, name: str, service: Service, wanted: Definitions
) -> list[str]:
    """Delete what a service has left, when its user is deleted; return what it was.

    Raises:
        BrokerError: the broker did not do it.
    """
    found = json.loads(await broker.ctl("export_definitions", "-"))
    deleted: list[str] = []
    left = list(leavings(name, service, wanted, found))
    for start in range(0, len(left), _AT_ONCE):
        some = left[start : start + _AT_ONCE]
        each = ", ".join(f"(fun() -> {one.erlang} end)()" for one in some)
        done = json.loads(await broker.ctl("eval", f"[{each}]."))
        deleted += [str(one) for one, is_gone in zip(some, done, strict=True) if is_gone]
    return deleted


def _ours(found: Definitions, kind: str) -> list[Entry]:
    return [each for each in found.get(kind, ()) if each.get("vhost", VHOST) == VHOST]


def _key(entry: Entry) -> tuple[str, str, str, str, str]:
    arguments = str(sorted((entry.get("arguments") or {}).items()))
    destination = entry["destination_type"], entry["destination"]
    return entry["source"], *destination, entry["routing_key"], arguments


def _binary(text: str) -> str:
    """Write text in Erlang, by bytes: who chose a name or a key must not get a word in."""
    return f"<<{','.join(map(str, text.encode()))}>>"


_ACTOR = _binary("postroad")
