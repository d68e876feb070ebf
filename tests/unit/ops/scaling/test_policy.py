"""The rules by which our programs scale, here and in a cluster."""

from typing import Any

from ops.scaling.policy import Policy
from ops.services import policies
from ops.services.manifests import program_names
from tests.kubernetes.manifests import name_of, of_kind, queue_of, trigger


def test_each_program_with_a_queue_has_a_rule() -> None:
    found = {(name, policy.queue) for name, policy in policies.load().items()}

    assert found == {
        ("auth_worker", "rpc.auth"),
        ("catalog_worker", "rpc.catalog"),
        ("auth_audit", "work.auth.audit"),
        ("catalog_sync", "work.catalog.sync"),
    }
    assert policies.load().keys() == program_names().keys() - {"http_bridge"}


def test_a_cluster_has_the_same_rules() -> None:
    objects = {name_of(each).replace("-", "_"): each for each in of_kind("ScaledObject")}

    assert {name: as_in_keda(policy) for name, policy in policies.load().items()} == {
        name: rule_of(each) for name, each in objects.items()
    }


def as_in_keda(policy: Policy) -> dict[str, Any]:
    assert policy.fallback is not None
    return {
        "target": policy.program.replace("_", "-"),
        "queue": policy.queue,
        "value": str(policy.value),
        "activation": str(policy.activation_value),
        "polling": policy.polling_s,
        "cooldown": policy.cooldown_s,
        "replicas": (policy.min_replicas, policy.max_replicas),
        "fallback": (
            policy.fallback.failure_threshold,
            policy.fallback.replicas,
            policy.fallback.behavior,
        ),
        "up": _speed(policy.up),
        "down": _speed(policy.down),
    }


def _speed(rates: Any) -> tuple[int, str, list[tuple[str, int, int]]]:
    each = [(rate.type, rate.value, rate.period_seconds) for rate in rates.policies]
    return rates.stabilization_window_seconds, rates.select_policy, sorted(each)


def rule_of(scaled_object: dict[str, Any]) -> dict[str, Any]:
    spec, asked = scaled_object["spec"], trigger(scaled_object)
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    fallback = spec["fallback"]
    return {
        "target": spec["scaleTargetRef"]["name"],
        "queue": queue_of(scaled_object),
        "value": asked["value"],
        "activation": asked.get("activationValue", "0"),
        "polling": spec["pollingInterval"],
        "cooldown": spec.get("cooldownPeriod", 60 if spec["minReplicaCount"] else None),
        "replicas": (spec["minReplicaCount"], spec["maxReplicaCount"]),
        "fallback": (fallback["failureThreshold"], fallback["replicas"], fallback["behavior"]),
        "up": _written(behavior["scaleUp"]),
        "down": _written(behavior["scaleDown"]),
    }


def _written(rates: dict[str, Any]) -> tuple[int, str, list[tuple[str, int, int]]]:
    each = [(rate["type"], rate["value"], rate["periodSeconds"]) for rate in rates["policies"]]
    return rates["stabilizationWindowSeconds"], rates.get("selectPolicy", "Max"), sorted(each)
