"""What the two brokers import while a system moves."""

import pytest

from ops.moving.overlays import OPEN, SHUT, let_in, overlays
from ops.services.operator import OPERATOR, operator_rights
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.names import SCALER
from postroad.topology.services import Services


@pytest.fixture
def wanted(services: Services) -> Definitions:
    return definitions(Services(services.root | {OPERATOR: operator_rights()}))


def most_connections(made: Definitions) -> dict[str, int]:
    return {user["name"]: user["limits"]["max-connections"] for user in made["users"]}


def test_the_shut_broker_lets_in_the_operator_alone(wanted: Definitions) -> None:
    usual = most_connections(wanted)

    shut = most_connections(overlays(wanted)[SHUT])

    assert dict.fromkeys(let_in(wanted), 0) | {OPERATOR: usual[OPERATOR], SCALER: 0} == shut
    assert set(let_in(wanted)) == {"auth", "bridge", "catalog"}


def test_the_open_broker_lets_in_as_many_as_ever(wanted: Definitions) -> None:
    assert most_connections(overlays(wanted)[OPEN]) == most_connections(wanted)


@pytest.mark.parametrize("name", [SHUT, OPEN])
def test_the_operator_alone_may_carry_and_is_no_administrator(
    wanted: Definitions, name: str
) -> None:
    made = overlays(wanted)[name]

    tags = {user["name"]: user["tags"] for user in made["users"]}
    changed = [each for each in made["permissions"] if each not in wanted["permissions"]]
    assert tags == {user["name"]: user["tags"] for user in wanted["users"]} | {
        OPERATOR: ["impersonator"]
    }
    assert [each["user"] for each in changed] == [OPERATOR]
    assert (changed[0]["write"], changed[0]["read"]) == (".*", ".*")
    kept = ("queues", "exchanges", "bindings", "policies", "topic_permissions")
    assert all(made[kind] == wanted[kind] for kind in kept)
