"""Reading ScaledObjects: ours, and ones that cannot be applied."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.scaling.policy import Fallback, Rate, ScalingFileError, load_policies
from ops.services import policies
from ops.services.entries import PROGRAMS

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def spec() -> dict[str, Any]:
    return {
        "scaleTargetRef": {"name": "catalog-sync"},
        "triggers": [
            {
                "type": "rabbitmq",
                "metadata": {
                    "protocol": "http",
                    "mode": "QueueLength",
                    "queueName": "work.catalog.sync",
                    "value": "16",
                },
            }
        ],
    }


def write(folder: Path, *specs: dict[str, Any]) -> Path:
    path = folder / "scaling.yaml"
    objects = [
        {"apiVersion": "v1", "kind": "Secret"},
        *(
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": {"name": "ours"},
                "spec": spec,
            }
            for spec in specs
        ),
    ]
    path.write_text(yaml.safe_dump_all(objects))
    return path


def test_our_own_file_has_a_rule_for_each_program_with_a_queue() -> None:
    policies = load_policies()

    assert policies.keys() == PROGRAMS.keys() - {"http_bridge"}
    assert {
        ("auth_worker", "rpc.auth"),
        ("catalog_worker", "rpc.catalog"),
        ("auth_audit", "work.auth.audit"),
        ("catalog_sync", "work.catalog.sync"),
    } <= {(name, policy.queue) for name, policy in policies.items()}


def test_what_is_not_said_is_as_in_keda_and_kubernetes(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    policy = load_policies(write(tmp_path, spec))["catalog_sync"]

    assert (policy.value, policy.activation_value) == (16, 0)
    assert (policy.min_replicas, policy.max_replicas) == (0, 100)
    assert (policy.polling_s, policy.cooldown_s) == (30, 300)
    assert (policy.up.stabilization_window_seconds, policy.up.select_policy) == (0, "Max")
    assert policy.up.policies == (
        Rate(type="Pods", value=4, period_seconds=15),
        Rate(type="Percent", value=100, period_seconds=15),
    )
    assert policy.down.stabilization_window_seconds == 300
    assert policy.down.policies == (Rate(type="Percent", value=100, period_seconds=15),)
    assert policy.fallback is None


def test_all_that_can_be_said_is_read(tmp_path: Path, spec: dict[str, Any]) -> None:
    spec |= {
        "pollingInterval": 5,
        "cooldownPeriod": 60,
        "minReplicaCount": 1,
        "maxReplicaCount": 4,
        "fallback": {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"},
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleDown": {
                        "stabilizationWindowSeconds": 7,
                        "selectPolicy": "Min",
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}],
                    }
                }
            }
        },
    }
    spec["triggers"][0]["metadata"]["activationValue"] = "3"

    policy = load_policies(write(tmp_path, spec))["catalog_sync"]

    assert (policy.polling_s, policy.cooldown_s, policy.activation_value) == (5, 60, 3)
    assert (policy.min_replicas, policy.max_replicas) == (1, 4)
    assert policy.fallback == Fallback(
        failure_threshold=3, replicas=2, behavior="currentReplicasIfHigher"
    )
    assert (policy.down.stabilization_window_seconds, policy.down.select_policy) == (7, "Min")
    assert policy.down.policies == (Rate(type="Pods", value=1, period_seconds=9),)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda spec: spec["triggers"][0].update(type="cpu"), r"type: Input should be 'rabbitmq'"),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(mode="MessageRate"),
            r"mode: Input should be 'QueueLength'",
        ),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(protocol="amqp"),
            r"protocol: Input should be 'http'",
        ),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(excludeUnacknowledged="true"),
            r"excludeUnacknowledged: Input should be 'false'",
        ),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(vhostName="elsewhere"),
            r"vhostName: Input should be 'postroad'",
        ),
        (
            lambda spec: spec["triggers"][0]["metadata"].update(value="0"),
            r"value: Input should be greater than 0",
        ),
        (
            lambda spec: spec["triggers"].append(spec["triggers"][0]),
            "triggers: 2 triggers; only one",
        ),
        (lambda spec: spec.update(triggers=[]), "triggers: Tuple should have at least 1 item"),
        (lambda spec: spec.update(idleReplicaCount=0), "idleReplicaCount: Extra inputs"),
        (
            lambda spec: spec.update(minReplicaCount=5, maxReplicaCount=4),
            "spec: minReplicaCount is more than maxReplicaCount",
        ),
        (
            lambda spec: spec.update(fallback={"failureThreshold": 1}),
            r"fallback\.replicas: Field required",
        ),
    ],
)
def test_what_cannot_be_applied_is_an_error_that_names_it(
    tmp_path: Path, spec: dict[str, Any], change: Change, complaint: str
) -> None:
    change(spec)

    with pytest.raises(ScalingFileError, match=rf"scaling\.yaml: ours: .*{complaint}"):
        load_policies(write(tmp_path, spec))


def test_two_rules_for_one_program_are_refused(tmp_path: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(ScalingFileError, match="two ScaledObjects for catalog_sync"):
        load_policies(write(tmp_path, spec, spec))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScalingFileError, match=r"cannot read .*none\.yaml: No such file"):
        load_policies(tmp_path / "none.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scaling.yaml"
    path.write_text("kind: [")

    with pytest.raises(ScalingFileError, match=r"scaling\.yaml is no YAML"):
        load_policies(path)


def test_a_rule_for_a_program_that_is_none_of_ours_is_refused(
    tmp_path: Path, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec["scaleTargetRef"]["name"] = "catalog-cleaner"
    monkeypatch.setattr(policies, "SCALING_FILE", write(tmp_path, spec))

    with pytest.raises(ScalingFileError, match="there is no program catalog_cleaner"):
        policies.load()
