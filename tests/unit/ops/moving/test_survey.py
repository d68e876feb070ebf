"""What is in the way of a move, given what was seen of both brokers."""

from dataclasses import replace

import pytest

from ops.moving.overlays import OPEN, SHUT, overlays
from ops.moving.survey import (
    Side,
    before_carrying,
    before_the_switch,
    differences,
    in_the_way,
    is_carried,
)
from ops.services.operator import OPERATOR, operator_rights
from postroad.broker.interfaces import QueueCount
from postroad.broker.moving.looking import NotLetIn
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.services import Services

WORK = "work.auth.audit"
LIMIT = NotLetIn("connection refused for user 'auth': user connection limit (0) is reached")
OPENED = Side("old", "amqp://old/p", "3.10.8", {WORK: QueueCount(9, 0)}, {}, ["auth"])
SHUT_NEW = Side("new", "amqp://new/p", "4.3.6", {WORK: QueueCount(0, 0)}, {"auth": LIMIT}, ["auth"])
OLD_SHUT = replace(OPENED, barred={"auth": LIMIT})
NEW_OPEN = replace(SHUT_NEW, barred={})


def test_nothing_is_in_the_way_before_and_after_the_switch() -> None:
    assert [*in_the_way(OPENED, SHUT_NEW), *before_the_switch(SHUT_NEW)] == []
    assert [*in_the_way(OLD_SHUT, NEW_OPEN), *before_carrying(OLD_SHUT, NEW_OPEN)] == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (OPENED, NEW_OPEN, "both brokers let services in"),
        (OPENED, replace(SHUT_NEW, version="4.3.0"), "take 4.3.4 or newer"),
        (OPENED, replace(SHUT_NEW, queues={WORK: None}), f"no queue {WORK}"),
        (
            OPENED,
            replace(SHUT_NEW, barred={"auth": NotLetIn("ACCESS_REFUSED")}),
            "the new broker refuses auth: ACCESS_REFUSED",
        ),
    ],
)
def test_what_is_wrong_at_any_time_is_in_the_way(old: Side, new: Side, problem: str) -> None:
    found = list(in_the_way(old, new))

    assert any(problem in each for each in found), found


def test_a_new_broker_with_messages_is_in_the_way() -> None:
    used = replace(SHUT_NEW, queues={WORK: QueueCount(2, 0)})

    assert list(before_the_switch(used)) == [
        "the new broker has 2 messages in its queues: purge them"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (OPENED, NEW_OPEN, "the old broker still lets services in"),
        (OLD_SHUT, SHUT_NEW, "the new broker lets no service in"),
        (replace(OLD_SHUT, queues={WORK: QueueCount(9, 2)}), NEW_OPEN, "2 consumers"),
    ],
)
def test_nothing_is_carried_before_all_have_gone_over(old: Side, new: Side, problem: str) -> None:
    found = list(before_carrying(old, new))

    assert len(found) == 1
    assert problem in found[0]


def test_requests_and_what_waits_for_its_next_attempt_are_left() -> None:
    queues = ("rpc.auth", "wait.1", WORK, f"dead.{WORK}", "dead.rpc.auth", "quarantine")

    assert [queue for queue in queues if is_carried(queue)] == list(queues[2:])


@pytest.fixture
def wanted(services: Services) -> Definitions:
    return definitions(Services(services.root | {OPERATOR: operator_rights()}))


@pytest.mark.parametrize("name", [SHUT, OPEN])
def test_a_broker_that_has_imported_an_overlay_does_not_differ(
    wanted: Definitions, name: str
) -> None:
    made = overlays(wanted)[name]
    queues = [each | {"type": each["arguments"]["x-queue-type"]} for each in made["queues"]]

    assert list(differences(made | {"queues": queues}, made)) == []


def test_a_wider_right_at_the_new_broker_is_named(wanted: Definitions) -> None:
    made = overlays(wanted)[OPEN]
    wide = [each | {"read": ".*"} for each in made["permissions"]]

    found = list(differences(made | {"permissions": wide}, made))

    assert any("permissions of auth: read is '.*'" in each for each in found), found
