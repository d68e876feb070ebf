"""Who may talk to whom, by the network policies taken together."""

import pytest

from tests.kubernetes.manifests import Manifest, matches, name_of, of_kind, pod_labels

SERVICES = [name_of(each) for each in of_kind("Deployment")]


def rules(name: str, direction: str) -> list[Manifest]:
    """Give what the network policies let into a pod, or out of it."""
    return [
        rule
        for policy in of_kind("NetworkPolicy")
        if matches(policy["spec"]["podSelector"], pod_labels()[name])
        for rule in policy["spec"].get(direction, [])
    ]


def ports(rule: Manifest) -> set[int]:
    return {each["port"] for each in rule["ports"]}


def test_what_no_policy_names_is_refused() -> None:
    (nothing,) = [each for each in of_kind("NetworkPolicy") if name_of(each) == "nothing"]

    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("http-bridge", {53, 5671, 4318}),
        ("auth-worker", {53, 5671, 5432, 4318}),
        ("auth-audit", {53, 5671, 5432, 4318}),
        ("catalog-worker", {53, 5671, 5432, 443, 4318}),
        ("catalog-sync", {53, 5671, 5432, 443, 4318}),
        ("broker", {53, 4369, 25672, 35672}),
    ],
)
def test_a_pod_reaches_what_it_needs_and_no_more(name: str, reached: set[int]) -> None:
    assert {port for rule in rules(name, "egress") for port in ports(rule)} == reached


@pytest.mark.parametrize("name", SERVICES)
def test_the_broker_lets_a_service_in_at_the_port_of_messages_only(name: str) -> None:
    labels = pod_labels()[name]

    opened = {
        port
        for rule in rules("broker", "ingress")
        for peer in rule["from"]
        if "namespaceSelector" not in peer and matches(peer["podSelector"], labels)
        for port in ports(rule)
    }

    assert opened == {5671}


def test_a_labelled_namespace_of_another_team_reaches_the_broker() -> None:
    labelled = {"matchLabels": {"postroad.example/calls": "true"}}
    both = {"namespaceSelector": labelled, "podSelector": labelled}

    opened = [ports(rule) for rule in rules("broker", "ingress") if both in rule["from"]]
    others = [
        rule["from"]
        for rule in rules("broker", "ingress")
        if 5671 in ports(rule) and both not in rule["from"]
    ]

    assert opened == [{5671}]
    assert others == [[{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "postroad"}}}]]


def test_nobody_but_the_bridge_is_reached_from_outside() -> None:
    open_to_all = {
        name: {
            port for rule in rules(name, "ingress") if "from" not in rule for port in ports(rule)
        }
        for name in pod_labels()
    }

    assert {name: opened for name, opened in open_to_all.items() if opened} == {
        "http-bridge": {8000}
    }


@pytest.mark.parametrize("name", SERVICES)
def test_traces_go_to_the_namespace_of_collectors_alone(name: str) -> None:
    (rule,) = [rule for rule in rules(name, "egress") if 4318 in ports(rule)]

    assert rule["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert ports(rule) == {4318}


@pytest.mark.parametrize("name", SERVICES)
def test_metrics_are_for_prometheus_alone(name: str) -> None:
    (rule,) = [rule for rule in rules(name, "ingress") if 9100 in ports(rule)]

    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert ports(rule) == {9100}
