"""What a revoked service has left at the broker, and what is not its own to lose."""

from copy import deepcopy
from typing import Any

import pytest

from ops.services.leavings import Binding, Thing, leavings
from postroad.topology.definitions import Definitions
from postroad.topology.names import VHOST
from postroad.topology.services import Service
from tests.unit.ops.services.conftest import SHOP

LOGIN = "auth.login.failed"


def queue(name: str) -> tuple[str, dict[str, Any]]:
    return "queues", {"name": name, "durable": True, "arguments": {}}


def bound(
    source: str, destination: str, key: str, *, to: str = "queue"
) -> tuple[str, dict[str, Any]]:
    return "bindings", {
        "source": source,
        "destination": destination,
        "destination_type": to,
        "routing_key": key,
        "arguments": {},
    }


def left(wanted: Definitions, *added: tuple[str, dict[str, Any]], rights: Service) -> list[str]:
    found = deepcopy(wanted)
    for kind, entry in added:
        found[kind].append({"vhost": VHOST, **entry})
    return [str(each) for each in leavings("shop", rights, wanted, found)]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (queue("amq.gen-1"), "the queue amq.gen-1"),
        (queue("reply.shop.x"), "the queue reply.shop.x"),
        (("exchanges", {"name": "listen.shop.x"}), "the exchange listen.shop.x"),
        (
            bound("events", "rpc", LOGIN, to="exchange"),
            f"the binding of the exchange rpc to events by {LOGIN}",
        ),
        (
            bound("events", "rpc.catalog", LOGIN),
            f"the binding of the queue rpc.catalog to events by {LOGIN}",
        ),
        (
            bound("rpc.replies", "rpc.catalog", "reply.shop.x"),
            "the binding of the queue rpc.catalog to rpc.replies by reply.shop.x",
        ),
    ],
)
def test_what_its_rights_let_it_declare_is_its_own(
    topology: Definitions, added: tuple[str, dict[str, Any]], said: str
) -> None:
    assert left(topology, added, rights=SHOP) == [said]


@pytest.mark.parametrize(
    "added",
    [
        [queue("orders")],
        [queue("reply.shopper.x")],
        [queue("amq.gen-1"), bound("rpc.replies", "amq.gen-1", "reply.till.x")],
        [bound("rpc.replies", "rpc.catalog", "reply.till.x")],
        [bound("events", "rpc.catalog", "auth.session.revoked")],
        [bound("events", "rpc.auth", LOGIN)],
        [bound("rpc", "rpc.catalog", "auth.#")],
        [bound("events", "amq.gen-2", LOGIN)],  # exclusive: the broker exports no such queue
        [],
    ],
)
def test_what_others_may_have_declared_is_left_there(
    topology: Definitions, added: list[tuple[str, dict[str, Any]]]
) -> None:
    assert left(topology, *added, rights=SHOP) == []


def test_what_has_its_name_is_its_own_when_its_rights_are_forgotten(
    topology: Definitions,
) -> None:
    said = left(
        topology,
        queue("amq.gen-1"),
        bound("rpc.replies", "amq.gen-1", "reply.shop.x"),
        bound("rpc.replies", "rpc.catalog", "reply.shop.y"),
        queue("amq.gen-2"),
        bound("events", "rpc.catalog", LOGIN),
        rights=Service(),
    )

    assert said == [
        "the queue amq.gen-1",
        "the binding of the queue rpc.catalog to rpc.replies by reply.shop.y",
    ]


def test_a_name_that_somebody_chose_is_no_order_to_the_broker() -> None:
    chosen = '">>), halt(). %'

    orders = [
        Thing("exchange", chosen).erlang,
        Thing("queue", chosen).erlang,
        Binding(Thing("exchange", "events"), Thing("queue", "x"), chosen, is_plain=True).erlang,
    ]

    assert not any("halt" in order for order in orders)
